// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>

#include "base/error.h"
#include "base/text.h"
#include "cli/contradictions.h"
#include "cli/option_groups.h"
#include "cli/overview.h"

namespace ds {
namespace {

struct CommandEntry {
  const char* name;
  const char* summary;
  std::function<void(CLI::App&, Options&)> add;
};

const std::vector<CommandEntry>& commands() {
  static const std::vector<CommandEntry> table = {
      {"deploy", "build or reuse the wheel, audit, stage, verify, activate, confirm", add_deploy},
      {"stage", "the first half of a deployment: hosts hold the release, nothing is activated",
       add_deploy},
      {"activate", "the second half: what a run staged is activated and confirmed", add_run},
      {"resume", "goes on with a run that ended early", add_run},
      {"rollback", "brings hosts back to a release that they hold", add_rollback},
      {"remove", "takes releases that nobody uses off hosts", add_remove},
      {"facts", "what every host is",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         add_facts(app, options);
         add_talk(app, options);
       }},
      {"audit", "holds a wheel that exists against every host; changes nothing",
       [](CLI::App& app, Options& options) {
         app.add_option("WHEEL", options.wheels, "the wheel, or several");
         app.add_flag("--installed", options.installed,
                      "what is active on each host, and whether it is as it was sealed");
         add_fleet(app, options);
         add_facts(app, options);
         add_audit(app, options);
         add_report(app, options);
         add_data(app, options);
         add_talk(app, options);
       }},
      {"status", "which release is active on every host, and whether that is decided",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         add_facts(app, options);
         add_talk(app, options);
       }},
      {"verify", "hashes again what is active on every host, and names what drifted",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         add_facts(app, options);
         add_state(app, options);
         add_talk(app, options);
       }},
      {"history", "the runs of this coordinator, newest first",
       [](CLI::App& app, Options& options) {
         app.add_option("-N,--number", options.number, "how many (20)")
             ->check(CLI::Range(1, 100000));
         add_state(app, options);
         add_hostfile(app, options);
         add_talk(app, options);
       }},
      {"show", "what one run did, and where it left every host",
       [](CLI::App& app, Options& options) {
         app.add_option("RUN", options.action, "its id, or a beginning of it")->required();
         app.add_flag("--receipt", options.receipt, "the report of the run, as JSON");
         add_state(app, options);
         add_hostfile(app, options);
         add_talk(app, options);
       }},
      {"report", "what is installed and whether it can be loaded",
       [](CLI::App& app, Options& options) {
         app.add_flag("--gpus", options.gpus,
                      "the GPUs that are known, with what compiles for them; no host is asked");
         add_data(app, options);
         add_fleet(app, options);
         add_talk(app, options);
       }},
      {"inspect", "what a wheel or a library really needs",
       [](CLI::App& app, Options& options) {
         app.add_option("FILE", options.files, "wheels, libraries, or folders of libraries")
             ->required();
         app.add_flag("--diff", options.diff, "what the second of two has otherwise");
         add_scan(app, options);
         add_data(app, options);
         // So that one set of options serves every command; nothing is asked of the hosts.
         add_hostfile(app, options);
         add_talk(app, options);
       }},
      {"build", "the wheel only",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         add_facts(app, options);
         add_build(app, options);
         add_source(app, options);
         add_no_clean(app, options);
         app.add_option("--explain-flags", options.explain_flags,
                        "print the tree's flags of one op beside ours, compile nothing");
         app.add_option("--output", options.output, "where the wheel goes (dist)");
         app.add_flag("--dry-run", options.dry_run, "print the plan, compile nothing");
         add_talk(app, options);
       }},
      {"jit", "one op for this machine, into the extension cache",
       [](CLI::App& app, Options& options) {
         app.add_option("OP", options.action, "the op's name")->required();
         app.add_option("--python", options.python, "interpreter that will load it");
         add_build(app, options);
         add_talk(app, options);
         app.parse_complete_callback([&options] { options.local_only = true; });
       }},
      {"cache", "the store of what was built: show, trim, verify",
       [](CLI::App& app, Options& options) {
         app.add_option("ACTION", options.action,
                        "show what it holds, trim it to --cache-size, or verify every file")
             ->required()
             ->check(CLI::IsMember({"show", "trim", "verify"}));
         add_cache(app, options);
         add_hostfile(app, options);
         add_talk(app, options);
       }},
      {"ping", "one no-op command on every host",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         add_talk(app, options);
       }},
      {"trust", "shows the keys of hosts that are not known and, once confirmed, adds them",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         app.add_flag("-y,--yes", options.yes, "add the keys without asking");
         add_talk(app, options);
       }}};
  return table;
}

std::string hint_for(const std::string& word, const CLI::App& app) {
  std::vector<std::string> known;
  if (word.starts_with("-")) {
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& name : option->get_lnames())
        known.push_back("--" + name);
    }
  } else {
    for (const CommandEntry& entry : commands())
      known.emplace_back(entry.name);
  }
  const std::string hint = suggestion(word.substr(0, word.find('=')), known);
  return hint.empty() ? "try 'ds-deploy --help'" : hint;
}

[[noreturn]] void refuse_extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining(true);
  const std::string word = extras.empty() ? std::string() : extras.front();
  const bool option = word.starts_with("-");
  if (word.ends_with(".whl")) {
    throw UsageError(fmt::format("'{}' stands alone", clean_line(word)),
                     "write --wheel before each wheel, or name wheels after 'audit' or 'inspect'");
  }
  throw UsageError(fmt::format("unknown {} '{}'", option ? "option" : "command", clean_line(word)),
                   hint_for(word, app));
}

}  // namespace

Options parse_options(int argc, const char* const* argv) {
  Options options;
  options.words.assign(argv, argv + argc);
  CLI::App app("", "ds-deploy");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  bool version = false;
  app.add_flag("--version", version, "print the version");
  add_deploy(app, options);
  app.require_subcommand(0, 1);
  for (const CommandEntry& entry : commands()) {
    CLI::App* command = app.add_subcommand(entry.name, entry.summary);
    entry.add(*command, options);
  }
  app.allow_extras();
  for (CLI::App* command : app.get_subcommands({}))
    command->allow_extras();
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const std::vector<CLI::App*> chosen = app.get_subcommands();
    const std::string own = (chosen.empty() ? &app : chosen.front())->help();
    const std::size_t options_at = own.find("\nOptions:");
    const std::size_t commands_at = own.find("\nSubcommands:");
    options.printed =
        !chosen.empty()
            ? own
            : overview + own.substr(options_at + 1, commands_at - options_at - 1) + manuals;
    return options;
  } catch (const CLI::ParseError& error) {
    throw UsageError(clean_line(error.what()));
  }
  for (const CLI::App* command : app.get_subcommands()) {
    options.command = command->get_name();
    if (!command->remaining().empty())
      refuse_extras(*command);
  }
  if (!app.remaining(true).empty())
    refuse_extras(app);
  if (version)
    options.printed = "ds-deploy " DS_DEPLOY_VERSION "\n";
  refuse_contradictions(options);
  options.json = options.json || options.format == "json";
  if (options.format.empty())
    options.format = options.json ? "json" : "text";
  return options;
}

}  // namespace ds
