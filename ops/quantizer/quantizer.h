/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `quantizer`. The formulas are in grid.h, the random numbers in philox.h.
 *
 * An array is cut into `groups` groups of `group_size` neighbours, any size. Each group has its own
 * grid: a step and, if asymmetric, an offset; an element is the code q with x = q * step + offset.
 *
 *   codes    int8, one a byte; with 4 bits two a byte, the element of even index in the high half.
 *            With 4 bits every group begins with a byte of its own: one of odd size ends with a
 *            byte whose low half is 0. So a group has group_size bytes, or (group_size + 1) / 2.
 *   params   float32, in the order of the groups: the step, or the step and the offset.
 *
 * Arithmetic is float32. A group with a NaN or an infinity in it has params that make all of it NaN
 * (an asymmetric one of equal infinities stays that infinity).
 *
 * Every function has two forms with the same bits, NaN payloads apart. The one for the GPU queues
 * its work on `stream` (a cudaStream_t, NULL for the default one) and returns; a code above
 * DS_OPS_CUDA is a cudaError_t. `device` is the GPU's ordinal; -1 finds it, and checks every
 * pointer, with the driver. The one for the CPU shares the work among OpenMP threads; `cpu_level`:
 * 0 the best of this CPU, 1 baseline, 2 AVX2, 3 AVX-512.
 *
 * Everything is checked before anything is written. What is written shares no memory with anything
 * else of the call. Pointers are aligned to their elements. dtype is DS_OPS_FLOAT32, _FLOAT16 or
 * _BFLOAT16.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

enum { DS_OPS_SYMMETRIC = 0, DS_OPS_ASYMMETRIC = 1 };
enum { DS_OPS_ROUND_NEAREST = 0, DS_OPS_ROUND_STOCHASTIC = 1 };

struct ds_ops_quantizer_options {
  int64_t groups;     /* >= 1 */
  int64_t group_size; /* >= 0, in elements */
  /* Of stochastic rounding. The element with index i of the array (before any swizzle) takes word
   * i % 4 of Philox with the counter (i / 4, offset) and the key seed. */
  uint64_t seed;
  uint64_t offset;
  int32_t bits; /* 4 or 8 */
  int32_t type; /* DS_OPS_SYMMETRIC or DS_OPS_ASYMMETRIC */
  int32_t rounding;
  int32_t reserved; /* 0 */
};

/* How the groups of a result are permuted for ZeRO++: the array is nodes * devices partitions p,
 * each of `pipeline` slices; slice y of partition p becomes slice
 * y * nodes * devices + (p % devices) * nodes + p / devices. All 1: nothing is permuted. */
struct ds_ops_quantizer_swizzle {
  int64_t pipeline;
  int64_t nodes;
  int64_t devices;
};

/* Feedback of the quantization error (LoCo), or none where `error` is NULL: an array of the
 * result's elements in its order. What is quantized is x + error, and error becomes
 * beta * error + (1 - beta) * (x + error - what the code stands for); an element of it for which
 * that is no number stays. */
struct ds_ops_quantizer_feedback {
  void* error;
  double beta; /* from 0 to 1 */
};

/* Bytes of GPU memory, aligned to 4, that lets many blocks work on one group; 0 if that would gain
 * nothing. For fewer (NULL) the functions work too. They leave nothing of use in it. */
DS_OPS_EXPORT int64_t ds_ops_quantizer_workspace(int64_t groups, int64_t group_size);

/* Each value becomes what its code stands for. Symmetric: step = (2 * absmax + eps) / 2^bits.
 * Asymmetric: step = (max - min + eps) / 2^bits, offset = min, codes from 0 on. */
DS_OPS_EXPORT int ds_ops_quantizer_fake(int32_t device, void* values, int32_t dtype,
                                        const struct ds_ops_quantizer_options* options, double eps,
                                        void* workspace, void* stream);
DS_OPS_EXPORT int ds_ops_quantizer_fake_cpu(void* values, int32_t dtype,
                                            const struct ds_ops_quantizer_options* options,
                                            double eps, int32_t cpu_level);

/* values -> codes and params. Symmetric: step = 2 * absmax / 2^bits. Asymmetric: step =
 * (max - min) / 2^bits, offset = (max + min) / 2. Where that step is 0 it is 1. `error` has the
 * element type of the values. */
DS_OPS_EXPORT int ds_ops_quantizer_quantize(int32_t device, const void* values, int32_t dtype,
                                            const struct ds_ops_quantizer_options* options,
                                            struct ds_ops_quantizer_swizzle swizzle,
                                            struct ds_ops_quantizer_feedback feedback,
                                            int8_t* codes, float* params, void* workspace,
                                            void* stream);
DS_OPS_EXPORT int ds_ops_quantizer_quantize_cpu(const void* values, int32_t dtype,
                                                const struct ds_ops_quantizer_options* options,
                                                struct ds_ops_quantizer_swizzle swizzle,
                                                struct ds_ops_quantizer_feedback feedback,
                                                int8_t* codes, float* params, int32_t cpu_level);

/* codes and params -> values. Rounding, seed and offset of the options are not looked at. */
DS_OPS_EXPORT int ds_ops_quantizer_dequantize(int32_t device, const int8_t* codes,
                                              const float* params,
                                              const struct ds_ops_quantizer_options* options,
                                              void* values, int32_t dtype, void* stream);
DS_OPS_EXPORT int ds_ops_quantizer_dequantize_cpu(const int8_t* codes, const float* params,
                                                  const struct ds_ops_quantizer_options* options,
                                                  void* values, int32_t dtype, int32_t cpu_level);

/* The same for codes without a sign, with a scale and a least value of `dtype` for each group:
 * x = q / scale + least. The type of the options is not looked at. */
DS_OPS_EXPORT int ds_ops_quantizer_dequantize_unsigned(
    int32_t device, const uint8_t* codes, const void* scales, const void* least,
    const struct ds_ops_quantizer_options* options, void* values, int32_t dtype, void* stream);
DS_OPS_EXPORT int ds_ops_quantizer_dequantize_unsigned_cpu(
    const uint8_t* codes, const void* scales, const void* least,
    const struct ds_ops_quantizer_options* options, void* values, int32_t dtype, int32_t cpu_level);

/* Shards of equal shape, one behind the other, that are quantized alike. */
struct ds_ops_quantizer_shards {
  const int8_t* codes;
  const float* params;
  int64_t count;      /* >= 1 */
  int64_t groups;     /* of one shard, >= 1 */
  int64_t group_size; /* groups * group_size is the number of elements of the result */
};

/* The sum of the shards, quantized. For each element: shard 0, plus shard 1, plus shard 2 and so
 * on, each dequantized, plus the error, in float32. `error` has elements of `error_dtype`. */
DS_OPS_EXPORT int ds_ops_quantizer_reduce(int32_t device, struct ds_ops_quantizer_shards shards,
                                          const struct ds_ops_quantizer_options* options,
                                          struct ds_ops_quantizer_feedback feedback,
                                          int32_t error_dtype, int8_t* codes, float* params,
                                          void* workspace, void* stream);
DS_OPS_EXPORT int ds_ops_quantizer_reduce_cpu(struct ds_ops_quantizer_shards shards,
                                              const struct ds_ops_quantizer_options* options,
                                              struct ds_ops_quantizer_feedback feedback,
                                              int32_t error_dtype, int8_t* codes, float* params,
                                              int32_t cpu_level);
