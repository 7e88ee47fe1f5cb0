// SPDX-License-Identifier: Apache-2.0
//
// Options that several commands take, by what they are about.
#pragma once

#include "cli/options.h"

namespace CLI {
class App;
}

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
void add_scan(CLI::App& app, Options& options);
void add_audit(CLI::App& app, Options& options);
void add_report(CLI::App& app, Options& options);
void add_bwlimit(CLI::App& app, Options& options);
void add_state(CLI::App& app, Options& options);
void add_lock(CLI::App& app, Options& options);
void add_treatments(CLI::App& app, Options& options);

}  // namespace ds
