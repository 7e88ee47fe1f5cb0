// SPDX-License-Identifier: Apache-2.0
//
// Which instruction set a CPU op may use, found out at run time. One binary serves every host:
// code for a level above the baseline is compiled with a target attribute on the function, never
// with a flag on the file, so that the linker cannot pick a wide copy of a shared inline function.
#pragma once

#ifdef __x86_64__
#include <cpuid.h>
#endif

namespace ds_ops {

/// The numbers are part of the C ABI: `automatic` takes the best level of this CPU.
enum class CpuLevel : int {
  automatic = 0,
  baseline = 1,  ///< what the compiler targets: x86-64, or the scalar path of other machines
  avx2 = 2,      ///< AVX2 and F16C
  avx512 = 3     ///< AVX-512 F, BW, DQ and VL
};

/// The best level that this CPU and its operating system support.
inline CpuLevel best_cpu_level() {
#ifdef __x86_64__
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  bool has_f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  if (!has_f16c || !__builtin_cpu_supports("avx2")) {
    return CpuLevel::baseline;
  }
  bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return wide ? CpuLevel::avx512 : CpuLevel::avx2;
#else
  return CpuLevel::baseline;
#endif
}

}  // namespace ds_ops
