// SPDX-License-Identifier: Apache-2.0
//
// Which instruction set a CPU op may use, found out at run time, and how one loop is compiled for
// each. One binary serves every host: code for a level above the baseline is compiled with a target
// attribute on the function, never with a flag on the file, so that the linker cannot pick a wide
// copy of a shared inline function.
#pragma once

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include <atomic>

#include "ds_ops/abi.h"

#ifdef __x86_64__
#define DS_OPS_TARGET_AVX2 [[gnu::target("avx2,f16c")]]
#define DS_OPS_TARGET_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]]
#endif

namespace ds_ops {

/// The numbers are part of the C ABI: `automatic` takes the best level of this CPU.
enum class CpuLevel : int {
  automatic = 0,
  baseline = 1,  ///< what the compiler targets: x86-64, or NEON on aarch64
  avx2 = 2,      ///< AVX2 and F16C
  avx512 = 3     ///< AVX-512 F, BW, DQ and VL
};

/// The best level that this CPU and its operating system support.
inline CpuLevel detect_cpu_level() {
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

/// The same, asked once: in a virtual machine the CPUID instruction is slow.
inline CpuLevel best_cpu_level() {
  static std::atomic<CpuLevel> known{CpuLevel::automatic};
  CpuLevel best = known.load(std::memory_order_relaxed);
  if (best == CpuLevel::automatic) {
    best = detect_cpu_level();
    known.store(best, std::memory_order_relaxed);
  }
  return best;
}

/// DS_OPS_OK if `cpu_level` is a level of the C ABI that this CPU has.
inline int check_cpu_level(int cpu_level) {
  if (cpu_level < static_cast<int>(CpuLevel::automatic) ||
      cpu_level > static_cast<int>(CpuLevel::avx512)) {
    return DS_OPS_BAD_CPU_LEVEL;
  }
  return cpu_level <= static_cast<int>(best_cpu_level()) ? DS_OPS_OK : DS_OPS_CPU_LEVEL_MISSING;
}

/// `Body::run`, which is always inlined, compiled for each level: the compiler turns the same
/// operations into SIMD of each width, so that every level gives the same bits.
template <class Body, class... Arguments>
struct AtLevels {
  using Function = void (*)(Arguments...);

  static void baseline(Arguments... arguments) { Body::run(arguments...); }
#ifdef __x86_64__
  DS_OPS_TARGET_AVX2 static void avx2(Arguments... arguments) {
    Body::run(arguments...);
  }
  DS_OPS_TARGET_AVX512 static void avx512(Arguments... arguments) {
    Body::run(arguments...);
  }
#endif

  /// The function for a level that this CPU supports.
  static Function at(CpuLevel level) {
    if (level == CpuLevel::automatic) {
      level = best_cpu_level();
    }
#ifdef __x86_64__
    if (level == CpuLevel::avx512) {
      return avx512;
    }
    if (level == CpuLevel::avx2) {
      return avx2;
    }
#endif
    return baseline;
  }
};

}  // namespace ds_ops
