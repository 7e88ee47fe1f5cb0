// SPDX-License-Identifier: Apache-2.0
//
// What every command starts from: the real doors, the hosts that are meant, their facts.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/in_use.h"
#include "cli/options.h"
#include "config/config.h"
#include "facts/facts.h"
#include "inventory/inventory.h"
#include "transport/transport.h"
#include "ui/ui.h"

namespace ds {

class Session {
 public:
  explicit Session(const Options& options);

  const Options& options() const { return options_; }
  Status& status() { return *status_; }
  Transport& transport() { return *transport_; }
  const ProbeOptions& probe() const { return probe_; }
  InUse& in_use() { return in_use_; }  ///< folders of the cache that this run works with

  /// --data's, else the one that came along.
  const Catalog& catalog();

  /// The hosts that the command line asks for.
  const Inventory& inventory();

  /// Their facts: replayed, or asked for now (and saved, if that is wanted). Without a hostfile
  /// the hosts are those of the replayed facts.
  const Fleet& fleet();
  /// The facts of these hosts anew.
  void ask_again(const std::set<std::string>& hosts);
  /// Adds to the facts what is active on the hosts, and whether it is whole; replayed facts stay as
  /// they are.
  void check_releases();

  /// This machine's facts, for compiling, with this interpreter ("": none): those of a local host
  /// of the fleet, else asked for now.
  HostFacts build_machine(const std::string& python);

  /// The interpreters of the target environments that this machine has too, --python's first.
  std::vector<std::string> pythons_here();
  /// The first of them, or "".
  std::string python_here();

  /// "/opt/venv/bin/python", or several with the hosts that use them, or "none was named".
  std::string environment();

 private:
  Fleet replayed();

  const Options& options_;
  std::unique_ptr<Status> status_;
  std::unique_ptr<Transport> transport_;
  ProbeOptions probe_;
  std::unique_ptr<Catalog> catalog_;
  InUse in_use_;
  std::unique_ptr<Inventory> inventory_;
  std::unique_ptr<Fleet> fleet_;
};

Catalog catalog_of(const Options& options);

/// $VIRTUAL_ENV's or $CONDA_PREFIX's interpreter, or "".
std::string inherited_python();

/// True for a file that can be opened as a hostfile by default (/job/hostfile).
inline constexpr const char* default_hostfile = "/job/hostfile";

}  // namespace ds
