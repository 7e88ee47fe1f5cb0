// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "transport/transport.h"

namespace ds {

/// A compiled op of a host's environment; clean, each text one line.
struct HostOp {
  std::string name;
  bool installed = false;              ///< else the package only knows of it
  std::optional<bool> loads;           ///< nothing: there is no library that could be tried
  std::string message;                 ///< what the loader or the self-test said against it
  std::string self_test;               ///< "passed", "cannot-run", "failed"; empty: it has none
  std::vector<std::string> sass, ptx;  ///< "80", "90a"
  bool operator==(const HostOp&) const = default;
};

struct HostPackage {
  std::string name, version, folder;
  std::string torch, cuda, accelerator;  ///< of DeepSpeed's record
  std::string problem;                   ///< why its self-tests are not known
  std::vector<HostOp> ops;
  bool operator==(const HostPackage&) const = default;
};

struct HostOps {
  std::vector<HostPackage> packages;
  std::string problem;  ///< why there is no answer
  bool operator==(const HostOps&) const = default;
};

/// What templates/report_ops.py said. A host can say anything here.
HostOps read_host_ops(const ExecResult& result, const std::string& nonce);

}  // namespace ds
