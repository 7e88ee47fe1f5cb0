// SPDX-License-Identifier: Apache-2.0
//
// torch/extension.h, compiled once for all units with the same flags. GCC takes foo.h.gch in a
// folder that it searches for foo.h, if it fits; where it is absent or does not fit, it reads
// foo.h, which build() puts there and which includes torch's own. So a unit's command is the same
// with and without, and what it makes too.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "plan/job_words.h"
#include "plan/plan.h"
#include "plan/source_flags.h"

namespace ds {

/// Units for which a header pays: it takes as long as one and a half of them and saves each half of
/// its time (torch 2.11, GCC 12), and they wait for it.
inline constexpr std::size_t least_units = 5;

/// By a digest of header_words(): the place of its job in the plan.
using HeaderJobs = std::map<std::string, std::size_t>;

/// What of a unit's command the header depends on. Macros of the op alone are none of it, as long
/// as torch's headers do not name them; if they do, GCC sees that it does not fit. CUDA's headers,
/// in `cuda_include`, are not read by torch/extension.h.
Words header_words(const Job& unit, const SourceOp& op, const SourceFlags& flags,
                   const std::string& cuda_include);

/// The job that makes the header for so many units such as this.
Job header_job(const Job& unit, const Words& words, std::size_t units);

/// Makes `unit` read it. Its output gets another name.
void read_precompiled(Job& unit, const std::string& digest, std::size_t header);

}  // namespace ds
