// SPDX-License-Identifier: Apache-2.0
#include "build/precompiled.h"

#include <iterator>
#include <utility>

#include "base/file.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// Whatever plan it was of. Another build that uses it just now goes on with the header's text.
void remove_headers(const fs::path& folder) {
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder, failure), end;
  for (; !failure && entry != end; entry.increment(failure)) {
    std::error_code ignored;
    if (entry->path().extension() == ".gch")
      fs::remove(entry->path(), ignored);
  }
}

/// Where a unit includes the header once more, GCC opens the file beside the one that it took, and
/// where there is none to take, that file at once. pch/DIGEST/x/y.h.gch stands for <x/y.h>.
void write_stand_in(const Job& header, const fs::path& build_folder) {
  fs::path file = header.output, name;
  file.replace_extension();
  auto piece = file.begin();
  for (std::advance(piece, 2); piece != file.end(); ++piece)
    name /= *piece;
  make_folders((build_folder / file).parent_path());
  write_file(build_folder / file,
             "#pragma GCC system_header\n#include_next <" + name.generic_string() + ">\n");
}

}  // namespace

Precompiled::Precompiled(const std::vector<Job>& jobs, fs::path build_folder)
    : jobs_(jobs), folder_(std::move(build_folder)) {
  remove_headers(folder_ / "pch");
  for (std::size_t id = 0; id < jobs_.size(); ++id) {
    if (!is_header(id))
      continue;
    waiting_[id];
    write_stand_in(jobs_[id], folder_);
  }
}

Precompiled::~Precompiled() {
  for (const Job& job : jobs_) {
    std::error_code ignored;
    if (job.kind == Job::Kind::precompile)
      fs::remove(folder_ / job.output, ignored);
  }
}

bool Precompiled::holds(std::size_t job) {
  for (const std::size_t need : jobs_[job].needs) {
    const auto header = waiting_.find(need);
    if (header == waiting_.end())
      continue;
    header->second.push_back(job);
    return true;
  }
  return false;
}

std::vector<std::size_t> Precompiled::wanted() const {
  std::vector<std::size_t> headers;
  for (const auto& [header, jobs] : waiting_) {
    if (jobs.size() >= jobs_[header].least)
      headers.push_back(header);
  }
  return headers;
}

void Precompiled::made(std::size_t header, std::vector<std::string> includes) {
  std::erase(includes, "/dev/null");
  includes_[header] = std::move(includes);
}

const std::vector<std::string>& Precompiled::read_by(std::size_t job) const {
  for (const std::size_t need : jobs_[job].needs) {
    const auto header = includes_.find(need);
    if (header != includes_.end())
      return header->second;
  }
  return nothing_;
}

std::vector<std::size_t> Precompiled::release(std::size_t header) {
  auto waited = waiting_.extract(header);
  return waited.empty() ? std::vector<std::size_t>() : std::move(waited.mapped());
}

}  // namespace ds
