// SPDX-License-Identifier: Apache-2.0
//
// Whole files. Nothing here changes the working directory or leaves a half written file behind.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace ds {

/// The whole file. Error (status `usage`) with path and reason if it cannot be read, is no regular
/// file, or is longer than `limit` bytes.
std::string read_file(const std::filesystem::path& file, std::size_t limit = 1u << 30);

/// What a file has to outlive: a loss of power too, or this process alone, which is much cheaper.
enum class Outlives { power, process };

/// Writes a temporary file beside `file`, fsyncs it unless `outlives` says otherwise, and renames
/// it: readers see the old or the new content, never a part.
void write_file(const std::filesystem::path& file, std::string_view content, int mode = 0644,
                Outlives outlives = Outlives::power);

/// Makes the folder and those above it. Error (status `usage`) with path and reason if it cannot be
/// made.
void make_folders(const std::filesystem::path& folder);

/// The program as execvp(3) would find it; empty if there is none that can be run.
std::filesystem::path find_program(const std::string& name);

/// A fresh folder of ours (mode 0700) that is removed with the object.
class TempDir {
 public:
  explicit TempDir(std::string_view prefix = "ds-deploy");
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// $XDG_CACHE_HOME/ds-deploy, else ~/.cache/ds-deploy (XDG Base Directory Specification).
std::filesystem::path cache_home();
/// $XDG_STATE_HOME/ds-deploy, else ~/.local/state/ds-deploy.
std::filesystem::path state_home();

/// "~/x" for the caller's home; other paths as they are.
std::filesystem::path expand_home(std::string_view path);

}  // namespace ds
