// SPDX-License-Identifier: Apache-2.0
#include "cli/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/text.h"
#include "cli/history.h"
#include "cli/pip_mode.h"
#include "cli/reach.h"
#include "cli/resume_options.h"
#include "cli/run_diff.h"

namespace ds {
namespace {

constexpr std::size_t most_runs = 1000;  // that are searched for a release

/// What the journal knows of releases: the file's name, and how it was built.
struct KnownRelease {
  std::string file;
  Properties build;
};
using KnownReleases = std::map<std::string, KnownRelease>;

void add_releases(const JournalReader& journal, const std::string& run,
                  const std::optional<RunFacts>& facts, KnownReleases& known) {
  for (const ArtifactRecord& artifact : journal.artifacts(run))
    known[artifact.sha256].file = artifact.name;
  for (const auto& [sha256, build] : facts ? facts->wheels : std::map<std::string, Properties>())
    known[sha256].build = build;
}

/// Of releases that another run brought, the newest first that tells how it was built.
void look_up(const JournalReader& journal, std::set<std::string> wanted, KnownReleases& known) {
  std::erase_if(wanted, [&known](const std::string& sha256) { return known.contains(sha256); });
  const std::vector<RunRecord> runs =
      wanted.empty() ? std::vector<RunRecord>() : journal.runs(most_runs);
  for (const RunRecord& run : runs) {
    const std::vector<ArtifactRecord> artifacts = journal.artifacts(run.id);
    const auto has = std::find_if(artifacts.begin(), artifacts.end(), [&](const auto& artifact) {
      return wanted.contains(artifact.sha256);
    });
    if (has == artifacts.end())
      continue;
    KnownReleases found;
    add_releases(journal, run.id, read_run_facts(journal.text(run.id, RunText::facts)), found);
    for (const auto& [sha256, release] : found) {
      KnownRelease& mine = known[sha256];
      if (mine.build.empty())
        mine = release;
      if (!release.build.empty())
        wanted.erase(sha256);
    }
    if (wanted.empty())
      return;
  }
}

/// Architectures and ops are what was asked for; the rest is what it was made with.
SectionName section_of(const std::string& name) {
  if (name == "ops")
    return {"wheel", name};
  return {name == "architectures" ? "flags" : "toolchain", name};
}

void add_wheels(const std::vector<std::string>& releases, const KnownReleases& known,
                HostSide& host) {
  host.values[{"wheel", "release"}] = join(releases, "+");
  std::map<SectionName, std::set<std::string>> values;
  values[{"wheel", "file"}];
  bool named = true;
  for (const std::string& sha256 : releases) {
    const auto found = known.find(sha256);
    named &= found != known.end() && !found->second.file.empty();
    if (found == known.end())
      continue;
    values[{"wheel", "file"}].insert(found->second.file);
    for (const auto& [name, value] : found->second.build)
      values[section_of(name)].insert(value);
  }
  if (!named)
    values.erase({"wheel", "file"});
  for (auto& [what, texts] : values) {
    texts.erase("");
    host.values[what] = join(std::vector<std::string>(texts.begin(), texts.end()), " + ");
  }
}

void add_facts(const HostDigest& digest, HostSide& host) {
  host.problem = digest.problem;
  for (const auto& [name, value] : digest.facts)
    host.values[{"facts", name}] = value;
}

/// Without comments: lines that say something.
std::vector<std::string> policy_lines(const std::string& policy) {
  std::vector<std::string> found;
  for (const std::string& line : lines(policy)) {
    const std::string_view text = trim(std::string_view(line).substr(0, line.find(" #")));
    if (!text.empty() && !text.starts_with('#'))
      found.push_back(clean_line(text));
  }
  return found;
}

/// Where it was to take the host; removing releases takes none anywhere.
std::vector<std::string> releases_of(const RunRecord& run, const HostRecord& host) {
  const bool leaves = std::find(run.words.begin(), run.words.end(), "--all") != run.words.end();
  return run.command == "remove" && !leaves ? host.before : host.wanted;
}

RunSide side_of(const JournalReader& journal, const RunRecord& run, KnownReleases& known) {
  const std::optional<RunFacts> facts = read_run_facts(journal.text(run.id, RunText::facts));
  RunSide side;
  side.run = run.id;
  side.title =
      fmt::format("{}, {} UTC, by {}@{}", run.command, utc_time(run.began), run.user, run.machine);
  side.facts_kept = facts.has_value();
  side.lists[{"flags", "command"}] = {run.command};
  side.lists[{"flags", "options"}] = options_in(run.words, run.command);
  side.lists[{"flags", "policy"}] = policy_lines(journal.text(run.id, RunText::policy));
  side.lists[{"toolchain", "ds-deploy"}] = {run.version};
  if (facts && facts->environment)
    side.lists[{"flags", "environment"}] = *facts->environment;
  add_releases(journal, run.id, facts, known);
  for (const HostRecord& record : journal.hosts(run.id)) {
    HostSide& host = side.hosts[record.name];
    add_wheels(releases_of(run, record), known, host);
    if (!facts)
      continue;
    const auto digest = facts->hosts.find(record.name);
    if (digest != facts->hosts.end())
      add_facts(digest->second, host);
  }
  return side;
}

/// The hosts of the run, or of the hostfile that is named now; by no other option of that run is
/// anything done.
Options options_for_now(const std::vector<RunRecord>& chain, const JournalReader& journal,
                        const Options& now) {
  Options options = options_of(chain, journal, now);
  if (!options.hosts.empty())
    options.hosts = journal.text(chain.front().id, RunText::inventory);
  options.facts.clear();
  options.save_facts.clear();
  return options;
}

RunSide side_of_now(Session& session, bool by_pip, const JournalReader& journal,
                    KnownReleases& known) {
  std::set<std::string> active;
  for (const HostFacts& facts : session.fleet().hosts)
    active.insert(facts.installed.active.begin(), facts.installed.active.end());
  look_up(journal, active, known);
  RunSide side;
  for (const HostFacts& facts : session.fleet().hosts) {
    HostSide& host = side.hosts[facts.host];
    if (!by_pip)
      add_wheels(facts.installed.active, known, host);
    add_facts(digest_of(facts), host);
  }
  return side;
}

/// What was chosen not to be asked is no difference.
void leave_out_unasked(const Inventory& asked, const Options& options, RunSide& side) {
  if (options.limit.empty() && options.include.empty() && options.exclude.empty())
    return;
  std::set<std::string> names;
  for (const Host& host : asked.hosts)
    names.insert(host.name);
  std::erase_if(side.hosts, [&names](const auto& host) { return !names.contains(host.first); });
}

void print(const RunSide& before, const RunSide& after, const RunDiff& diff, ExitStatus status,
           const Options& options) {
  const std::string text = options.json
                               ? run_diff_json(before, after, diff, static_cast<int>(status))
                               : run_diff_text(before, after, diff, options.verbose);
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

ExitStatus diff_with_now(const JournalReader& journal, const RunRecord& run, const Options& now) {
  const std::vector<RunRecord> chain = chain_of(journal, run);
  const Options options = options_for_now(chain, journal, now);
  KnownReleases known;
  RunSide before = side_of(journal, run, known);
  const bool by_pip = is_by_pip(chain.back());
  Session session(options);
  const RunSide after = side_of_now(session, by_pip, journal, known);
  leave_out_unasked(session.inventory(), now, before);
  RunDiff diff = compare(before, after);
  if (by_pip)
    diff.notes.push_back("run " + run.id +
                         " installed by pip; what pip has there now is not looked at");
  const ExitStatus status = status_of(session.fleet());
  print(before, after, diff, status, now);
  return status;
}

void refuse_without_meaning(const Options& options) {
  if (options.files.size() != 2) {
    throw UsageError(fmt::format("diff compares two, and {} {} named", options.files.size(),
                                 options.files.size() == 1 ? "is" : "are"),
                     "ds-deploy diff RUN RUN, or ds-deploy diff RUN now; see: ds-deploy history");
  }
  if (options.files.front() == "now") {
    throw UsageError(
        "diff: now is the later of the two",
        "write it last: ds-deploy diff " +
            (options.files.back() == "now" ? "RUN" : shell_quote(options.files.back())) + " now");
  }
  const bool asks = options.files.back() == "now";
  const bool names_hosts = !options.hostfiles.empty() || !options.slurm_job.empty() ||
                           options.local_only || !options.limit.empty() ||
                           !options.include.empty() || !options.exclude.empty();
  if (!asks && names_hosts) {
    throw UsageError("diff of two runs asks no host, so that none can be chosen",
                     "leave the hosts out, or write now in place of the second run");
  }
}

}  // namespace

ExitStatus diff_runs(const Options& options) {
  refuse_without_meaning(options);
  const std::optional<JournalReader> journal = JournalReader::open(state_folder(options));
  if (!journal) {
    throw UsageError("there is no journal in " + state_folder(options).string(),
                     "name the folder with --state-dir");
  }
  const RunRecord run = journal->run(options.files.front());
  if (options.files.back() == "now")
    return diff_with_now(*journal, run, options);
  KnownReleases known;
  const RunSide before = side_of(*journal, run, known);
  const RunSide after = side_of(*journal, journal->run(options.files.back()), known);
  print(before, after, compare(before, after), ExitStatus::ok, options);
  return ExitStatus::ok;
}

}  // namespace ds
