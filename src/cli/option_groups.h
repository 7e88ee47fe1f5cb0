// SPDX-License-Identifier: Apache-2.0
//
// Options that commands have in common, and all of those of the commands that change hosts.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/options.h"

namespace ds {

void add_talk(CLI::App& app, Options& options);
void add_hostfile(CLI::App& app, Options& options);
void add_fleet(CLI::App& app, Options& options);
void add_facts(CLI::App& app, Options& options);
void add_data(CLI::App& app, Options& options);
void add_cache(CLI::App& app, Options& options);
void add_build(CLI::App& app, Options& options);
void add_source(CLI::App& app, Options& options);
void add_no_clean(CLI::App& app, Options& options);
void add_requirements(CLI::App& app, Options& options);
void add_scan(CLI::App& app, Options& options);
void add_audit(CLI::App& app, Options& options);
void add_report(CLI::App& app, Options& options);
void add_state(CLI::App& app, Options& options);
void add_change(CLI::App& app, Options& options);
void add_keep(CLI::App& app, Options& options);
void add_run(CLI::App& app, Options& options);
void add_rollback(CLI::App& app, Options& options);
void add_remove(CLI::App& app, Options& options);
void add_deploy(CLI::App& app, Options& options);

}  // namespace ds
