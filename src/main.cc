// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <string>

#include "base/error.h"
#include "base/file_limit.h"
#include "base/interrupt.h"
#include "cli/options.h"
#include "cli/program.h"

namespace {

void show(const ds::Error& error) {
  std::fprintf(stderr, "ds-deploy: error: %s\n", error.what().c_str());
  for (const std::string& line : error.context())
    std::fprintf(stderr, "  %s\n", line.c_str());
  if (!error.fix().empty())
    std::fprintf(stderr, "  %s\n", error.fix().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const ds::Options options = ds::parse_options(argc, argv);
    if (!options.printed.empty()) {
      std::fputs(options.printed.c_str(), stdout);
      return 0;
    }
    ds::raise_file_limit();
    const ds::InterruptHandlers handlers;
    return static_cast<int>(ds::run_program(options));
  } catch (const ds::Error& error) {
    show(error);
    return static_cast<int>(error.status());
  } catch (const ds::Interrupted&) {
    std::fputs("ds-deploy: interrupted\n", stderr);
    return static_cast<int>(ds::ExitStatus::interrupted);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ds-deploy: internal error: %s\n", error.what());
    return static_cast<int>(ds::ExitStatus::internal);
  }
}
