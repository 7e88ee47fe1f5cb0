// SPDX-License-Identifier: Apache-2.0
#include "build/precompiled.h"

#include <utility>

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

}  // namespace

Precompiled::Precompiled(const std::vector<Job>& jobs, fs::path build_folder)
    : jobs_(jobs), folder_(std::move(build_folder)) {
  remove_headers(folder_ / "pch");
  for (std::size_t id = 0; id < jobs_.size(); ++id) {
    if (is_header(id))
      waiting_[id];
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
    if (jobs.size() > 1)
      headers.push_back(header);
  }
  return headers;
}

std::vector<std::size_t> Precompiled::release(std::size_t header) {
  auto waited = waiting_.extract(header);
  return waited.empty() ? std::vector<std::size_t>() : std::move(waited.mapped());
}

}  // namespace ds
