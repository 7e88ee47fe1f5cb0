/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `utils`: host memory only.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

/* Copies `count` parts, one after the other, to `flat`. The bytes of all parts together must be
 * `flat_bytes` (else DS_OPS_SIZE_MISMATCH, nothing written). A part of 0 bytes may be NULL. No part
 * may overlap `flat`. */
DS_OPS_EXPORT int ds_ops_utils_flatten(void* flat, uint64_t flat_bytes, const void* const* parts,
                                       const uint64_t* part_bytes, int64_t count);

/* The way back: cuts the first bytes of `flat` into the parts. `flat` may be longer than all parts
 * together (padding), not shorter. */
DS_OPS_EXPORT int ds_ops_utils_unflatten(const void* flat, uint64_t flat_bytes, void* const* parts,
                                         const uint64_t* part_bytes, int64_t count);
