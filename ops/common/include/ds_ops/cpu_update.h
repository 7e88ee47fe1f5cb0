// SPDX-License-Identifier: Apache-2.0
//
// What the optimizers on the CPU share: the checks of a call, and one pass over the arrays of many
// parameters. The parameters are cut into chunks that threads share; a chunk is worked on in blocks
// that stay in the L1 cache: what is not float32 is widened into a buffer, updated there and stored
// back, and the copy of the parameter is made of the result while it is there.
//
// An optimizer describes itself by a class Update:
//
//   Tensor           its struct in the C ABI, with size, param_dtype, state_dtype, param_copy and
//                    copy_dtype
//   Factors          what does not depend on the element
//   arrays(tensor)   std::array of UpdateArray: the parameter, the gradient, the states
//   run(arrays, n, factors)   updates n elements of these as float32; always inlined
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <tuple>

#include "ds_ops/abi.h"
#include "ds_ops/check.h"
#include "ds_ops/cpu_level.h"
#include "ds_ops/half_loops.h"
#include "ds_ops/scalar.h"
#include "ds_ops/threads.h"

namespace ds_ops {

struct UpdateArray {
  void* pointer;
  std::int32_t dtype;
  bool written;
};

/// How a call is to be carried out, from the C ABI.
struct UpdateOptions {
  std::int32_t cpu_level;
  std::int32_t threads;
};

namespace update {

// So short that the CPU has the loads of one block under way while it works on the one before: with
// 1024 elements a step on float16 takes half as long again.
constexpr std::int64_t block_size = 256;
constexpr std::int64_t chunk_size = 64 * block_size;
constexpr std::int64_t least_chunks_per_thread = 2;

template <class Update>
struct Kernels {
  HalfLoops halves;
  void (*run)(float* const* arrays, std::int64_t n, const typename Update::Factors& factors);
};

template <class Update>
Kernels<Update> kernels(CpuLevel level) {
  using Run = AtLevels<Update, float* const*, std::int64_t, const typename Update::Factors&>;
  return {half_loops(level), Run::at(level)};
}

inline bool is_known(std::int32_t dtype) {
  return dtype == DS_OPS_FLOAT32 || dtype == DS_OPS_FLOAT16 || dtype == DS_OPS_BFLOAT16;
}

inline Span span_of(const UpdateArray& array, std::int64_t size) {
  return {array.pointer, size, element_size(array.dtype), array.written};
}

/// The arrays of a tensor and, if it has one, the copy of the parameter, in `spans`; how many.
template <class Update>
int spans_of(const typename Update::Tensor& tensor, Span* spans) {
  int count = 0;
  for (const UpdateArray& array : Update::arrays(tensor)) {
    spans[count++] = span_of(array, tensor.size);
  }
  if (tensor.param_copy != nullptr) {
    spans[count++] = span_of({tensor.param_copy, tensor.copy_dtype, true}, tensor.size);
  }
  return count;
}

template <class Update>
constexpr int most_spans = static_cast<int>(std::tuple_size_v<decltype(Update::arrays({}))>) + 1;

template <class Update>
int check_tensor(const typename Update::Tensor& tensor) {
  Span spans[most_spans<Update>];
  bool known = tensor.param_copy == nullptr || is_known(tensor.copy_dtype);
  for (const UpdateArray& array : Update::arrays(tensor)) {
    known = known && is_known(array.dtype);
  }
  if (!known) {
    return DS_OPS_BAD_DTYPE;
  }
  if (tensor.state_dtype != tensor.param_dtype && tensor.state_dtype != DS_OPS_FLOAT32) {
    return DS_OPS_BAD_DTYPE_PAIR;
  }
  const int count = spans_of<Update>(tensor, spans);
  const std::int64_t size = tensor.size;
  // A block of float32 is the widest that is looked at, whatever the types.
  if (size < 0 || size > INT64_MAX / 4) {
    return DS_OPS_BAD_SIZE;
  }
  for (int i = 0; i < count; ++i) {
    const int code = check_span(spans[i]);
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  return DS_OPS_OK;
}

/// DS_OPS_OVERLAP if a span that is written shares memory with another. Sorts them.
inline int check_overlap(Span* spans, std::int64_t count) {
  std::sort(spans, spans + count,
            [](const Span& a, const Span& b) { return a.pointer < b.pointer; });
  std::uintptr_t any_end = 0;
  std::uintptr_t written_end = 0;
  for (const Span* span = spans; span != spans + count; ++span) {
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(span->pointer);
    const std::uintptr_t end = begin + static_cast<std::uintptr_t>(span->count * span->width);
    if (begin < (span->written ? any_end : written_end)) {
      return DS_OPS_OVERLAP;
    }
    any_end = std::max(any_end, end);
    written_end = span->written ? std::max(written_end, end) : written_end;
  }
  return DS_OPS_OK;
}

template <class Update>
int check_overlap(const typename Update::Tensor* tensors, std::int64_t count) {
  constexpr std::int64_t few = 16;
  Span on_stack[few * most_spans<Update>];
  void* memory = nullptr;
  if (count > few) {
    memory = std::calloc(static_cast<std::size_t>(count), sizeof(Span) * most_spans<Update>);
    if (memory == nullptr) {
      return DS_OPS_ERRNO + ENOMEM;
    }
  }
  Span* spans = memory == nullptr ? on_stack : static_cast<Span*>(memory);
  std::int64_t used = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    used += tensors[i].size == 0 ? 0 : spans_of<Update>(tensors[i], spans + used);
  }
  const int code = check_overlap(spans, used);
  std::free(memory);
  return code;
}

/// Element `at` of an array, as float32: the array itself, or a widened copy in `buffer`.
inline float* open(const UpdateArray& array, std::int64_t at, std::int64_t n, float* buffer,
                   const HalfLoops& halves) {
  if (array.dtype == DS_OPS_FLOAT32) {
    return static_cast<float*>(array.pointer) + at;
  }
  const std::uint16_t* from = static_cast<const std::uint16_t*>(array.pointer) + at;
  (array.dtype == DS_OPS_FLOAT16 ? halves.load_float16 : halves.load_bfloat16)(from, buffer, n);
  return buffer;
}

inline void store(const float* from, void* array, std::int32_t dtype, std::int64_t at,
                  std::int64_t n, const HalfLoops& halves) {
  if (dtype == DS_OPS_FLOAT32) {
    std::copy(from, from + n, static_cast<float*>(array) + at);
    return;
  }
  std::uint16_t* to = static_cast<std::uint16_t*>(array) + at;
  (dtype == DS_OPS_FLOAT16 ? halves.store_float16 : halves.store_bfloat16)(from, to, n);
}

template <class Update>
void run_block(const typename Update::Tensor& tensor, std::int64_t at, std::int64_t n,
               const Kernels<Update>& kernels, const typename Update::Factors& factors) {
  const auto arrays = Update::arrays(tensor);
  constexpr std::size_t count = std::tuple_size_v<decltype(Update::arrays({}))>;
  alignas(64) float buffers[count][block_size];
  float* opened[count];
  for (std::size_t i = 0; i < count; ++i) {
    opened[i] = open(arrays[i], at, n, buffers[i], kernels.halves);
  }
  kernels.run(opened, n, factors);
  for (std::size_t i = 0; i < count; ++i) {
    if (arrays[i].written && arrays[i].dtype != DS_OPS_FLOAT32) {
      store(opened[i], arrays[i].pointer, arrays[i].dtype, at, n, kernels.halves);
    }
  }
  if (tensor.param_copy != nullptr) {
    store(opened[0], tensor.param_copy, tensor.copy_dtype, at, n, kernels.halves);
  }
}

/// Whether anything but the arrays of float32 themselves is touched.
template <class Update>
bool needs_buffers(const typename Update::Tensor& tensor) {
  bool needed = tensor.param_copy != nullptr;
  for (const UpdateArray& array : Update::arrays(tensor)) {
    needed = needed || array.dtype != DS_OPS_FLOAT32;
  }
  return needed;
}

inline std::int64_t chunks_of(std::int64_t size) {
  return divide_up(size, chunk_size);
}

/// Chunks `first` to `last` (not included), counted over all tensors.
template <class Update>
void run_chunks(const typename Update::Tensor* tensors, std::int64_t first, std::int64_t last,
                const Kernels<Update>& kernels, const typename Update::Factors& factors) {
  for (const auto* tensor = tensors; first < last; ++tensor) {
    const std::int64_t chunks = chunks_of(tensor->size);
    const std::int64_t end = std::min(std::min(last, chunks) * chunk_size, tensor->size);
    // What needs no buffer is not cut: memory is read without a break.
    const std::int64_t block = needs_buffers<Update>(*tensor) ? block_size : chunks * chunk_size;
    for (std::int64_t at = first * chunk_size; at < end; at += block) {
      run_block<Update>(*tensor, at, std::min(block, end - at), kernels, factors);
    }
    first = std::max<std::int64_t>(first - chunks, 0);
    last -= chunks;
  }
}

}  // namespace update

/// DS_OPS_OK, or the code of what is wrong with the arrays or the options.
template <class Update>
int check_update(const typename Update::Tensor* tensors, std::int64_t count,
                 const UpdateOptions& options) {
  if (count < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (count > 0 && tensors == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (options.threads < 0) {
    return DS_OPS_BAD_THREADS;
  }
  int code = check_cpu_level(options.cpu_level);
  for (std::int64_t i = 0; code == DS_OPS_OK && i < count; ++i) {
    code = update::check_tensor<Update>(tensors[i]);
  }
  return code == DS_OPS_OK ? update::check_overlap<Update>(tensors, count) : code;
}

/// Updates all tensors, which check_update has passed.
template <class Update>
void run_update(const typename Update::Tensor* tensors, std::int64_t count,
                const typename Update::Factors& factors, const UpdateOptions& options) {
  CpuLevel level = static_cast<CpuLevel>(options.cpu_level);
  level = level == CpuLevel::automatic ? best_cpu_level() : level;
  const update::Kernels<Update> kernels = update::kernels<Update>(level);
  std::int64_t chunks = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    chunks += update::chunks_of(tensors[i].size);
  }
  share(chunks, update::least_chunks_per_thread, options.threads,
        [&](std::int64_t first, std::int64_t last) {
          update::run_chunks<Update>(tensors, first, last, kernels, factors);
        });
}

}  // namespace ds_ops
