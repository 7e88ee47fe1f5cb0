// SPDX-License-Identifier: Apache-2.0
//
// Shares the pieces of a call among OpenMP threads. An op that uses it is compiled and linked with
// -fopenmp.
#pragma once

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ds_ops {

/// As many threads as OpenMP gives (OMP_NUM_THREADS, or the CPUs that the process could use when
/// the runtime was loaded), and no more than the CPUs that this thread may use now.
inline std::int32_t usual_thread_count() {
  const std::int32_t given = omp_get_max_threads();
  cpu_set_t allowed;
  if (given < 2 || sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return given;
  }
  return std::min(given, CPU_COUNT(&allowed));
}

/// How many threads share `pieces`, each with `least_pieces` or more. `most`: no more than these;
/// 0: usual_thread_count().
inline int thread_count(std::int64_t pieces, std::int64_t least_pieces, std::int32_t most) {
  // libgomp's pool does not survive a fork: a child that asked it for threads would wait for ever.
  static std::atomic<pid_t> pool_owner{0};
  const std::int64_t given = most > 0 ? most : usual_thread_count();
  const std::int64_t wanted = std::min(given, pieces / least_pieces);
  if (wanted < 2) {
    return 1;
  }
  pid_t owner = 0;
  const pid_t self = getpid();
  const bool ours = pool_owner.compare_exchange_strong(owner, self) || owner == self;
  return ours ? static_cast<int>(wanted) : 1;
}

/// Calls work(first, last) so that every piece from 0 to `pieces` (not included) is in one call,
/// each in a thread of its own. `work` throws nothing.
template <class Work>
void share(std::int64_t pieces, std::int64_t least_pieces, std::int32_t most, Work work) {
  const int threads = thread_count(pieces, least_pieces, most);
  if (threads == 1) {
    work(std::int64_t{0}, pieces);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    // The runtime may have given fewer threads than were asked for. No product that overflows.
    const std::int64_t team = omp_get_num_threads();
    const std::int64_t self = omp_get_thread_num();
    const std::int64_t share_of_all = pieces / team;
    const std::int64_t left = pieces % team;
    const std::int64_t first = share_of_all * self + std::min(self, left);
    work(first, first + share_of_all + (self < left ? 1 : 0));
  }
}

}  // namespace ds_ops
