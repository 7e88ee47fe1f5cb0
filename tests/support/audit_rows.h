// SPDX-License-Identifier: Apache-2.0
//
// What a rule says of one changed host or wheel.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "support/audit_fixture.h"

namespace ds {

struct AuditRow {
  const char* rule;
  std::function<void(AuditCase&)> change;
  Severity severity;
  const char* because;  ///< a part of the sentence
};

inline void check_row(const AuditRow& row) {
  AuditCase audited;
  row.change(audited);
  CAPTURE(std::string(row.rule));
  CAPTURE(std::string(row.because));
  const Finding found = audited.worst(row.rule);
  CHECK(to_string(found.severity) == to_string(row.severity));
  CHECK_MESSAGE(found.because.find(row.because) != std::string::npos, found.because);
  // What is wrong comes with a way out.
  CHECK((found.severity != Severity::fail || !found.fix.empty()));
}

}  // namespace ds
