// SPDX-License-Identifier: Apache-2.0
//
// Checks the arguments of a step, cuts the tensors into chunks and gives them to threads. A chunk
// is worked on in blocks that stay in the L1 cache: what is not float32 is widened into a buffer,
// updated there and stored back.
#include "cpu_adam.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "ds_ops/error_text.h"
#include "ds_ops/threads.h"
#include "kernels.h"

namespace {

using ds_ops::AdamFactors;
using ds_ops::AdamKernels;
using ds_ops::CpuLevel;
using std::int32_t;
using std::int64_t;
using Tensor = ds_ops_cpu_adam_tensor;

constexpr int64_t block_size = 1024;
constexpr int64_t chunk_size = 16 * block_size;
constexpr int64_t least_chunks_per_thread = 2;

int64_t chunks_of(const Tensor& tensor) {
  return tensor.size / chunk_size + (tensor.size % chunk_size != 0);
}

/// Element `at` of an array, as float32: the array itself, or a widened copy in `buffer`.
float* open(void* array, int32_t dtype, int64_t at, int64_t n, float* buffer,
            const AdamKernels& kernels) {
  if (dtype == DS_OPS_FLOAT32) {
    return static_cast<float*>(array) + at;
  }
  const std::uint16_t* from = static_cast<const std::uint16_t*>(array) + at;
  (dtype == DS_OPS_FLOAT16 ? kernels.load_float16 : kernels.load_bfloat16)(from, buffer, n);
  return buffer;
}

/// Stores what `open` had to widen.
void close(void* array, int32_t dtype, int64_t at, int64_t n, const float* buffer,
           const AdamKernels& kernels) {
  if (dtype == DS_OPS_FLOAT32) {
    return;
  }
  std::uint16_t* to = static_cast<std::uint16_t*>(array) + at;
  (dtype == DS_OPS_FLOAT16 ? kernels.store_float16 : kernels.store_bfloat16)(buffer, to, n);
}

void step_block(const Tensor& t, int64_t at, int64_t n, const AdamKernels& kernels,
                const AdamFactors<float>& factors) {
  alignas(64) float buffers[4][block_size];
  float* p = open(t.params, t.param_dtype, at, n, buffers[0], kernels);
  // open only reads; its parameter is not const because it serves the outputs too.
  const float* g = open(const_cast<void*>(t.grads), t.grad_dtype, at, n, buffers[1], kernels);
  float* m = open(t.exp_avg, t.state_dtype, at, n, buffers[2], kernels);
  float* v = open(t.exp_avg_sq, t.state_dtype, at, n, buffers[3], kernels);
  kernels.update(p, g, m, v, n, factors);
  close(t.params, t.param_dtype, at, n, p, kernels);
  close(t.exp_avg, t.state_dtype, at, n, m, kernels);
  close(t.exp_avg_sq, t.state_dtype, at, n, v, kernels);
}

/// Chunks `first` to `last` (not included), counted over all tensors.
void step_chunks(const Tensor* tensors, int64_t first, int64_t last, const AdamKernels& kernels,
                 const AdamFactors<float>& factors) {
  for (const Tensor* tensor = tensors; first < last; ++tensor) {
    int64_t chunks = chunks_of(*tensor);
    int64_t begin = first * chunk_size;
    int64_t end = std::min(last, chunks) * chunk_size;
    for (int64_t at = begin; at < std::min(end, tensor->size); at += block_size) {
      step_block(*tensor, at, std::min(block_size, tensor->size - at), kernels, factors);
    }
    first = std::max<int64_t>(first - chunks, 0);
    last -= chunks;
  }
}

bool is_known(int32_t dtype) {
  return dtype == DS_OPS_FLOAT32 || dtype == DS_OPS_FLOAT16 || dtype == DS_OPS_BFLOAT16;
}

bool is_aligned(const void* pointer, int32_t dtype) {
  std::uintptr_t size = dtype == DS_OPS_FLOAT32 ? sizeof(float) : sizeof(std::uint16_t);
  return reinterpret_cast<std::uintptr_t>(pointer) % size == 0;
}

int check(const Tensor& t) {
  if (t.size < 0 || t.size > INT64_MAX / static_cast<int64_t>(sizeof(float))) {
    return DS_OPS_BAD_SIZE;
  }
  if (!is_known(t.param_dtype) || !is_known(t.grad_dtype) || !is_known(t.state_dtype)) {
    return DS_OPS_BAD_DTYPE;
  }
  if ((t.grad_dtype != t.param_dtype && t.grad_dtype != DS_OPS_FLOAT32) ||
      (t.state_dtype != t.param_dtype && t.state_dtype != DS_OPS_FLOAT32)) {
    return DS_OPS_BAD_DTYPE_PAIR;
  }
  if (t.size == 0) {
    return DS_OPS_OK;
  }
  if (t.params == nullptr || t.grads == nullptr || t.exp_avg == nullptr ||
      t.exp_avg_sq == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  bool aligned = is_aligned(t.params, t.param_dtype) && is_aligned(t.grads, t.grad_dtype) &&
                 is_aligned(t.exp_avg, t.state_dtype) && is_aligned(t.exp_avg_sq, t.state_dtype);
  return aligned ? DS_OPS_OK : DS_OPS_MISALIGNED;
}

int check(const Tensor* tensors, int64_t count, int32_t cpu_level) {
  if (count < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (count > 0 && tensors == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (cpu_level < static_cast<int32_t>(CpuLevel::automatic) ||
      cpu_level > static_cast<int32_t>(CpuLevel::avx512)) {
    return DS_OPS_BAD_CPU_LEVEL;
  }
  if (cpu_level > ds_ops_cpu_adam_best_level()) {
    return DS_OPS_CPU_LEVEL_MISSING;
  }
  for (int64_t i = 0; i < count; ++i) {
    int code = check(tensors[i]);
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  return DS_OPS_OK;
}

}  // namespace

int ds_ops_cpu_adam_best_level() {
  // Asked once: in a virtual machine the CPUID instruction is slow.
  static std::atomic<int> known{0};
  int best = known.load(std::memory_order_relaxed);
  if (best == 0) {
    best = static_cast<int>(ds_ops::best_cpu_level());
    known.store(best, std::memory_order_relaxed);
  }
  return best;
}

int ds_ops_cpu_adam_step(const Tensor* tensors, int64_t count, const ds_ops_adam_options* options,
                         int32_t cpu_level) {
  int code = ds_ops::check_adam_options(options);
  if (code == DS_OPS_OK) {
    code = check(tensors, count, cpu_level);
  }
  if (code != DS_OPS_OK) {
    return code;
  }
  CpuLevel level = static_cast<CpuLevel>(cpu_level);
  if (level == CpuLevel::automatic) {
    level = static_cast<CpuLevel>(ds_ops_cpu_adam_best_level());
  }
  const AdamKernels& kernels = ds_ops::adam_kernels(level);
  const AdamFactors<float> factors = ds_ops::make_adam_factors<float>(*options);
  int64_t chunks = 0;
  for (int64_t i = 0; i < count; ++i) {
    chunks += chunks_of(tensors[i]);
  }
  ds_ops::share(chunks, least_chunks_per_thread, 0, [&](int64_t first, int64_t last) {
    step_chunks(tensors, first, last, kernels, factors);
  });
  return DS_OPS_OK;
}

const char* ds_ops_error_text(int code) {
  return ds_ops::error_text(code);
}
