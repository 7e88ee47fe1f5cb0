// SPDX-License-Identifier: Apache-2.0
//
// Words and names that the jobs of every kind of source share.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plan/arch_list.h"
#include "plan/toolchain.h"

namespace ds {

using Words = std::vector<std::string>;

void append(Words& to, const Words& words);

/// Outputs carry a digest of the command that makes them: other flags, other file, so that no two
/// jobs and no two plans ever write the same one.
std::string digest12(const Words& argv);

/// obj/OP/a-b.cc.DIGEST.o
std::filesystem::path object_path(const std::string& op, const std::filesystem::path& source,
                                  const Words& argv);

/// -gencode=arch=compute_90,code=sm_90; for PTX code=compute_90.
std::string gencode(Arch arch);

/// The steps of nvcc for several architectures at one time: the object is the same, to the byte.
Words thread_words(const Toolchain& tools, const std::vector<Arch>& archs);
/// Slots that such a job has to be told, for it takes none by itself.
int threads_told(const Toolchain& tools, const std::vector<Arch>& archs);

/// The oldest C++ that the headers of this torch are written in, for every compiler: 14, 17 or 20.
int torch_standard(const std::string& version);

}  // namespace ds
