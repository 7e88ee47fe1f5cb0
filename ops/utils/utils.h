/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `utils`: host memory only.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

/* Copies `count` parts, one after the other, to `flat`, and then writes `padding_bytes` zeros. The
 * bytes of all parts and of the padding together must be `flat_bytes` (else DS_OPS_SIZE_MISMATCH).
 * A part of 0 bytes may be NULL. A part that overlaps `flat` is DS_OPS_OVERLAP. After an error
 * nothing was written. */
DS_OPS_EXPORT int ds_ops_utils_flatten(void* flat, uint64_t flat_bytes, const void* const* parts,
                                       const uint64_t* part_bytes, int64_t count,
                                       uint64_t padding_bytes);

/* The way back: cuts the first bytes of `flat` into the parts. `flat` may be longer than all parts
 * together (padding), not shorter. No part may overlap `flat` (DS_OPS_OVERLAP). */
DS_OPS_EXPORT int ds_ops_utils_unflatten(const void* flat, uint64_t flat_bytes, void* const* parts,
                                         const uint64_t* part_bytes, int64_t count);
