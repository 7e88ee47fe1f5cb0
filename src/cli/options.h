// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace ds {

/// The command line as a value. Fields that a command does not take keep their defaults.
struct Options {
  std::string command = "deploy";
  std::vector<std::string> words;      ///< the command line as it was given
  std::vector<std::string> hostfiles;  ///< "-": the standard input
  std::string slurm_job;               ///< id, in place of a hostfile
  std::string hosts;                   ///< of an earlier run, in place of a hostfile: its text
  bool local_only = false;
  std::string include, exclude;
  std::vector<std::string> limit;
  std::string python;
  std::string ssh_config;
  std::vector<std::string> ssh_options;  ///< "Key=Value", as ssh -o
  std::string ssh_backend = "auto";
  bool sudo = false;
  bool ask_sudo_password = false;
  int fanout = 64;
  std::optional<std::uint64_t> bwlimit;  ///< bytes of wheels per second; 0: no limit
  int connect_timeout = 15;              ///< seconds
  int login_timeout = 30;                ///< seconds
  std::string facts, save_facts;
  std::string data;                       ///< catalog of toolkits, drivers and GPUs
  std::string ops;                        ///< folder of the op library
  std::string source;                     ///< a foreign tree in its place
  std::vector<std::string> environments;  ///< to build it with: folders, files of requirements
  std::string explain_flags;              ///< op of that tree
  bool debug_info = false;
  bool no_pch = false;
  std::string build_folder;
  std::string output;
  int jobs = 0;  ///< 0: MAX_JOBS, else one per core
  int keep_going = 1;
  double max_load = 0;       ///< no second job while the load average is higher; 0: any
  std::string memory_limit;  ///< "16G" for all jobs together; empty: what is free
  int job_timeout = 3600;    ///< seconds for one job
  std::string cache_folder;  ///< empty: cache_home()/cache
  std::string cache_size = "20G";
  std::string arch_policy = "exact";
  std::string cpu_level = "shared";
  std::string launcher;  ///< before every compile: ccache, sccache, distcc
  bool explain = false;
  std::string trace;  ///< a timeline goes here
  bool verify_reproducible = false;
  bool dry_run = false;
  std::string policy;  ///< file: how the rollout proceeds
  /// In place of what it says, by the policy's key: "unreachable" -> "leave-out=5%"
  std::map<std::string, std::string> treatments;
  bool accept_left_out = false;
  std::string until;            ///< as it was written: "05:30", "2h"; empty: no limit
  bool prove_rollback = false;  ///< the canary goes back before it stays
  bool owed = false;            ///< of resume and verify: what runs left to do
  std::set<std::string> only;   ///< of the hosts: these; empty: all
  bool break_lock = false;
  bool also_shared = false;  ///< remove on shared file systems too
  std::string owner_group;       ///< of what is written on hosts
  std::string mode = "release";  ///< "pip": each host's pip installs the wheels
  std::optional<int> keep;       ///< releases beside the active ones; 3 if it is not given
  std::optional<int> keep_days;  ///< on shared file systems; nothing: all releases stay there
  std::string to;                ///< of rollback: sha256 or its beginning, "previous", "pip"
  bool mixed = false;            ///< of rollback: hosts may come to different releases
  bool no_audit = false;
  bool all = false;                ///< of remove: everything that is of ours
  bool receipt = false;            ///< of show: the report of the run
  std::string state_dir;           ///< of the journal; empty: state_home()
  int days = 30;                   ///< for which pin keeps a release
  bool processes = false;          ///< of status: which of them use which release
  bool on_hosts = false;           ///< of history: what the hosts noted
  std::string message;             ///< why, for the hosts' histories
  int number = 20;                 ///< of runs that history shows
  bool with_requirements = false;  ///< hosts' pip installs what the wheels require
  std::string pip_mirror;          ///< the package index wherever this run lets pip fetch; or empty
  bool no_clean = false;           ///< of install.sh: what was built is kept in any case
  std::vector<std::string> wheels;  ///< --wheel, or the argument of audit
  std::vector<std::string> files;   ///< arguments of inspect, diff and remove
  bool scan_instructions = false;
  bool diff = false;       ///< compare the two files
  bool installed = false;  ///< of audit: what is active on the hosts
  bool gpus = false;       ///< of report: the GPUs that are known
  std::string action;      ///< argument of cache and show, op of jit
  bool require_gpu = false;
  bool strict = false;
  std::vector<std::string> ignore;  ///< RULE or RULE@HOSTS
  bool yes = false;
  bool json = false;
  std::string format;       ///< of a report: text, json or github; never empty once it is parsed
  std::string junit, html;  ///< files of a report; "-": the standard output
  std::string events;       ///< file for progress as JSON lines; empty: none
  bool verbose = false;
  bool quiet = false;
  std::string color = "auto";
  std::string printed;  ///< help or version: show this and end with status 0
};

/// UsageError for anything that is not understood.
Options parse_options(int argc, const char* const* argv);

}  // namespace ds
