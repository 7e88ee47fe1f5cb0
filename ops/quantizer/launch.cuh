// SPDX-License-Identifier: Apache-2.0
//
// Which kernel works on a call, and its launch.
#pragma once

#include "body.h"
#include "calls.h"
#include "ds_ops/device_guard.h"
#include "ds_ops/find_device.h"

namespace ds_ops {

constexpr int serial_threads = 128;
constexpr int streamed_threads = 256;
constexpr int held_unroll = 2;
constexpr std::int64_t largest_serial_group = 64;

// The second number is for ptxas, which otherwise spills to save registers.
template <int Threads, class Source, class Sink>
__global__ void __launch_bounds__(Threads, Threads == 32 ? 16 : 1024 / Threads)
    held_kernel(const __grid_constant__ Source source, const __grid_constant__ Sink sink,
                const __grid_constant__ Task task) {
  GpuBlock<Threads> block;
  held_body<held_unroll>(block, source, sink, task);
}

template <int Width, bool whole, class Source, class Sink>
__global__ void __launch_bounds__(streamed_threads, 3)
    streamed_kernel(const __grid_constant__ Source source, const __grid_constant__ Sink sink,
                    const __grid_constant__ Task task) {
  GpuBlock<streamed_threads> block;
  streamed_body<Width, whole>(block, source, sink, task);
}

template <int Width, bool whole, class Source, class Sink>
__global__ void __launch_bounds__(serial_threads)
    serial_kernel(const __grid_constant__ Source source, const __grid_constant__ Sink sink,
                  const __grid_constant__ Task task) {
  GpuBlock<serial_threads> block;
  serial_body<Width, whole>(block, source, sink, task);
}

inline unsigned grid_size(std::int64_t blocks) {
  return static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX);
}

/// Blocks for one group that is read twice: enough of them for all GPUs, each with 8192 elements.
inline std::int64_t parts_of_group(std::int64_t groups, std::int64_t group_size) {
  const std::int64_t possible = divide_up<std::int64_t>(group_size, 8192);
  const std::int64_t wanted = divide_up<std::int64_t>(1024, groups);
  return possible < wanted ? possible : wanted;
}

template <class Source, class Sink>
void launch_streamed(const Source& source, const Sink& sink, const Task& task, bool whole,
                     cudaStream_t stream) {
  const unsigned blocks = grid_size(task.groups * task.parts);
  if (whole) {
    streamed_kernel<gpu_width, true><<<blocks, streamed_threads, 0, stream>>>(source, sink, task);
  } else {
    streamed_kernel<2, false><<<blocks, streamed_threads, 0, stream>>>(source, sink, task);
  }
}

template <class Source, class Sink>
int launch(const Source& source, const Sink& sink, Task task, bool whole, cudaStream_t stream) {
  const std::int64_t size = task.group_size;
  if (size <= largest_serial_group) {
    const unsigned blocks = grid_size((task.groups - 1) / serial_threads + 1);
    if (whole) {
      serial_kernel<gpu_width, true><<<blocks, serial_threads, 0, stream>>>(source, sink, task);
    } else {
      serial_kernel<2, false><<<blocks, serial_threads, 0, stream>>>(source, sink, task);
    }
  } else if (whole && size <= 32 * held_unroll * gpu_width) {
    held_kernel<32><<<grid_size(task.groups), 32, 0, stream>>>(source, sink, task);
  } else if (whole && size <= 256 * held_unroll * gpu_width) {
    held_kernel<256><<<grid_size(task.groups), 256, 0, stream>>>(source, sink, task);
  } else if (whole && size <= 1024 * held_unroll * gpu_width) {
    held_kernel<1024><<<grid_size(task.groups), 1024, 0, stream>>>(source, sink, task);
  } else {
    const std::int64_t parts = task.ranges == nullptr ? 1 : parts_of_group(task.groups, size);
    task.parts = parts;
    task.stage = Stage::all;
    if (parts > 1) {
      const std::size_t bytes = 2 * sizeof(std::uint32_t) * static_cast<std::size_t>(task.groups);
      const int code = cuda_code(cudaMemsetAsync(task.ranges, 0, bytes, stream));
      if (code != DS_OPS_OK) {
        return code;
      }
      task.stage = Stage::measure;
      launch_streamed(source, sink, task, whole, stream);
      task.stage = Stage::write;
    }
    launch_streamed(source, sink, task, whole, stream);
  }
  return cuda_code(cudaGetLastError());
}

/// Whether so many codes can be moved at once.
inline bool are_whole(std::int64_t group_size, const void* codes, int bits, int width = gpu_width) {
  return group_size % width == 0 &&
         is_aligned(codes, static_cast<std::uintptr_t>(bits == 8 ? width : width / 2));
}

/// Launches what `call`, which has been checked, stands for.
template <class Source, class Sink, class Call>
int launch_call(const Source& source, const Sink& sink, const Call& call, bool whole,
                void* workspace, void* stream) {
  const Task task{call.options->groups,
                  call.options->group_size,
                  1,
                  static_cast<std::uint32_t*>(workspace),
                  Stage::all,
                  call.rules()};
  return launch(source, sink, task, whole, static_cast<cudaStream_t>(stream));
}

}  // namespace ds_ops
