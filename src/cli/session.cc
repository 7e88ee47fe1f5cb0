// SPDX-License-Identifier: Apache-2.0
#include "cli/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/hosts.h"
#include "cli/replay.h"
#include "rollout/rollout.h"

namespace ds {
namespace {

StatusOptions status_options(const Options& options) {
  StatusOptions status;
  status.verbosity = options.quiet     ? Verbosity::quiet
                     : options.verbose ? Verbosity::verbose
                                       : Verbosity::normal;
  status.terminal = is_live_terminal(STDERR_FILENO);
  status.color = wants_color(options.color, STDERR_FILENO);
  status.width = terminal_width(STDERR_FILENO);
  status.sent_bytes = file_bytes_sent;
  return status;
}

TransportOptions transport_options(const Options& options) {
  TransportOptions transport;
  transport.fanout = options.fanout;
  transport.ssh_config = expand_home(options.ssh_config);
  transport.ssh_options = options.ssh_options;
  transport.backend = options.ssh_backend == "libssh2"   ? SshBackend::libssh2
                      : options.ssh_backend == "openssh" ? SshBackend::openssh
                                                         : SshBackend::automatic;
  transport.sudo = options.ask_sudo_password ? Sudo::ask_password
                   : options.sudo            ? Sudo::yes
                                             : Sudo::no;
  transport.connect_timeout = std::chrono::seconds(options.connect_timeout);
  transport.login_timeout = std::chrono::seconds(options.login_timeout);
  transport.bytes_per_second = options.bwlimit.value_or(0);
  transport.cache = cache_home();
  return transport;
}

Selection selection_of(const Options& options) {
  return {options.include, options.exclude, options.limit};
}

/// --python as a host can take it: commands there begin in "/", not in the caller's folder.
std::string asked_python(const Options& options) {
  const std::string& python = options.python;
  const bool relative = python.find('/') != std::string::npos && !python.starts_with('/') &&
                        !python.starts_with("~/");
  if (!relative)
    return python;
  if (options.local_only)
    return std::filesystem::absolute(python).string();
  throw UsageError(fmt::format("--python {} is a relative path, and on a host it would depend on "
                               "where the login begins",
                               clean_line(python)),
                   "write the whole path, from / or ~/, or a bare program name");
}

}  // namespace

std::string inherited_python() {
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    const char* prefix = std::getenv(name);
    if (prefix != nullptr && *prefix == '/')
      return std::string(prefix) + "/bin/python";
  }
  return {};
}

Session::Session(const Options& options)
    : options_(options), status_(make_status(status_options(options), stderr)) {
  if (!options.events.empty())
    status_ = with_events(std::move(status_), expand_home(options.events));
  probe_.python = asked_python(options);
  probe_.inherited_python = inherited_python();
  const char* job = std::getenv("SLURM_JOB_ID");
  probe_.own_job = !options.slurm_job.empty() ? options.slurm_job : job == nullptr ? "" : job;
  transport_ = make_transport(transport_options(options));
}

Catalog catalog_of(const Options& options) {
  const std::string& file = options.data;
  return file.empty() ? builtin_catalog()
                      : read_catalog(read_file(expand_home(file), 8u << 20), file);
}

const Catalog& Session::catalog() {
  if (!catalog_)
    catalog_ = std::make_unique<Catalog>(catalog_of(options_));
  return *catalog_;
}

const Inventory& Session::inventory() {
  if (!inventory_) {
    inventory_ =
        std::make_unique<Inventory>(select_hosts(read_inventory(options_), selection_of(options_)));
    if (!options_.only.empty()) {
      std::erase_if(inventory_->hosts,
                    [this](const Host& host) { return !options_.only.contains(host.name); });
    }
  }
  return *inventory_;
}

const Fleet& Session::fleet() {
  if (fleet_)
    return *fleet_;
  if (!options_.facts.empty()) {
    fleet_ = std::make_unique<Fleet>(replayed());
    return *fleet_;
  }
  fleet_ = std::make_unique<Fleet>(gather_facts(inventory(), probe_, *transport_, *status_));
  if (!options_.save_facts.empty())
    write_file(options_.save_facts, facts_to_json(*fleet_));
  return *fleet_;
}

void Session::ask_again(const std::set<std::string>& hosts) {
  Inventory some;
  for (const Host& host : inventory().hosts) {
    if (hosts.contains(host.name))
      some.hosts.push_back(host);
  }
  Fleet fresh = gather_facts(some, probe_, *transport_, *status_);
  for (HostFacts& facts : fresh.hosts) {
    for (HostFacts& known : fleet_->hosts) {
      if (known.host == facts.host)
        known = std::move(facts);
    }
  }
  if (!options_.save_facts.empty())
    write_file(options_.save_facts, facts_to_json(*fleet_));
}

void Session::check_releases() {
  fleet();
  if (options_.facts.empty())
    ds::check_releases(inventory(), probe_, *fleet_, *transport_, *status_);
}

Fleet Session::replayed() {
  const std::string& file = options_.facts;
  const Fleet saved = facts_from_json(read_file(expand_home(file)), file);
  if (options_.hostfiles.empty() && options_.slurm_job.empty() && !options_.local_only) {
    refuse_tags(selection_of(options_), file);
    inventory_ = std::make_unique<Inventory>(
        select_hosts(inventory_of(saved, file), selection_of(options_)));
  }
  return facts_of(inventory(), saved, file);
}

HostFacts Session::build_machine(const std::string& python) {
  if (fleet_ && options_.facts.empty()) {
    for (const Host& host : inventory().hosts) {
      const HostFacts* facts = fleet_->find(host.name);
      const bool local = host.endpoint.kind == Endpoint::Kind::local && host.env_script.empty() &&
                         (python.empty() || expand_home(target_python(host, probe_)) == python);
      if (local && facts != nullptr && facts->state == HostFacts::State::reached)
        return *facts;
    }
  }
  ProbeOptions probe;
  probe.python = python;
  Fleet self = gather_facts(local_inventory(), probe, *transport_, *status_);
  if (self.hosts.front().state != HostFacts::State::reached) {
    throw Error("this machine could not be probed: " + self.hosts.front().problem);
  }
  return self.hosts.front();
}

/// What they hold of CUDA and PyTorch is what ops are compiled with. Replayed facts name none:
/// nothing of a file of facts is run here.
std::vector<std::string> Session::pythons_here() {
  std::vector<std::string> named = {probe_.python}, here;
  for (const Host& host : inventory().hosts)
    named.push_back(target_python(host, probe_));
  for (const std::string& python : named) {
    const std::string path = expand_home(python);
    std::error_code unreadable;
    const bool there = python.find('/') == std::string::npos
                           ? !python.empty()
                           : path.starts_with('/') && std::filesystem::exists(path, unreadable);
    if (there && std::find(here.begin(), here.end(), path) == here.end())
      here.push_back(path);
  }
  return here;
}

std::string Session::python_here() {
  const std::vector<std::string> here = pythons_here();
  return here.empty() ? "" : here.front();
}

std::string Session::environment() {
  std::map<std::string, std::vector<std::string>> users;
  if (options_.facts.empty()) {
    for (const Host& host : inventory().hosts) {
      users[target_python(host, probe_)].push_back(host.name);
    }
  } else {
    for (const HostFacts& host : fleet().hosts)
      users[host.python.asked].push_back(host.host);
  }
  std::vector<std::string> texts;
  for (const auto& [python, hosts] : users) {
    const std::string name = python.empty() ? "none was named" : python;
    texts.push_back(users.size() == 1 ? name
                                      : fmt::format("{} ({})", name, count(hosts.size(), "host")));
  }
  return join(texts, ", ");
}

}  // namespace ds
