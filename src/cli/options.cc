// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/command_options.h"
#include "cli/contradictions.h"
#include "cli/overview.h"

namespace ds {
namespace {

[[noreturn]] void refuse_extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining(true);
  const std::string word = extras.empty() ? std::string() : extras.front();
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames())
      known.push_back("--" + name);
  }
  for (const CommandEntry& entry : commands())
    known.emplace_back(entry.name);
  refuse_unknown(word, known);
}

}  // namespace

Options parse_options(int argc, const char* const* argv) {
  Options options;
  options.words.assign(argv, argv + argc);
  CLI::App app("", "ds-deploy");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  bool version = false;
  app.add_flag("--version", version, "print the version");
  commands().front().add(app, options);  // without a command, deploy
  app.require_subcommand(0, 1);
  for (const CommandEntry& entry : commands()) {
    CLI::App* command = app.add_subcommand(entry.name, entry.summary);
    entry.add(*command, options);
    command->allow_extras();
  }
  app.allow_extras();
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
