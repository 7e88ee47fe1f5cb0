// SPDX-License-Identifier: Apache-2.0
//
// One question to the target interpreter, whose answer is told from everything else that is
// printed.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace ds {

struct Question {
  std::string python;                ///< as the user named it
  std::vector<std::string> scripts;  ///< names of templates, run as one text: "in_child.py"
  std::string request;               ///< JSON
  std::filesystem::path work;        ///< a folder of the caller's, for what is left in TMPDIR too
  std::vector<std::string> environment;
  std::chrono::seconds limit{60};
  std::string about;  ///< "the source x", for messages
};

/// The JSON that follows the nonce in the answer. Error (build_failed) if there is none.
std::string ask(const Question& question);

}  // namespace ds
