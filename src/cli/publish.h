// SPDX-License-Identifier: Apache-2.0
//
// Where the report goes: the standard output, files, GitHub's summary.
#pragma once

#include "cli/options.h"
#include "cli/session.h"
#include "report/report.h"

namespace ds {

/// Asked before a host is touched: an Error if a file of the report could not be written.
void refuse_unwritable_reports(const Options& options);

/// Prints the report and writes its files; gives its exit status. A file that cannot be written
/// after all is a warning, and status 2 where all else went well.
ExitStatus publish(const Report& report, Session& session);

}  // namespace ds
