# SPDX-License-Identifier: Apache-2.0
"""Arrays of the optimizers' tests, without NumPy."""
import array
import random
import struct

# Unit roundoff and half the smallest subnormal of each type.
TYPES = {"float32": (2.0**-24, 2.0**-150), "float16": (2.0**-11, 2.0**-25),
         "bfloat16": (2.0**-8, 2.0**-134)}
# Types of parameter, gradient and states.
PAIRS = [(p, g, s) for p in TYPES for g in TYPES for s in dict.fromkeys((p, "float32"))]


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def float_of(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def encode(values, dtype):
    """Doubles as an array of `dtype`; bfloat16 is cut off, the test data need not be rounded."""
    if dtype == "float32":
        return array.array("f", values)
    if dtype == "float16":
        return array.array("H", struct.pack(f"<{len(values)}e", *values))
    return array.array("H", [bits_of(v) >> 16 for v in values])


def decode(values, dtype):
    if dtype == "float32":
        return list(values)
    if dtype == "float16":
        return list(struct.unpack(f"<{len(values)}e", values.tobytes()))
    return [float_of(v << 16) for v in values]


def sample(n, pair, seed):
    """Random params, grads, exp_avg, exp_avg_sq of the types of `pair`."""
    rng = random.Random(seed)
    p, g, s = pair
    return [encode([rng.gauss(0, 1) for _ in range(n)], p),
            encode([rng.gauss(0, 0.1) for _ in range(n)], g),
            encode([rng.gauss(0, 0.05) for _ in range(n)], s),
            encode([rng.uniform(1e-3, 1e-2) for _ in range(n)], s)]


def rounded(error, value, dtype):
    """How far a result in `dtype` may be from `value` if it was within `error` before rounding:
    its unit roundoff of the value, or half the smallest subnormal."""
    unit, tiny = TYPES[dtype]
    return error + unit * (abs(value) + error) + tiny


class FakeTensor:
    """The methods of a PyTorch tensor that are used."""

    class Device:
        def __init__(self, kind):
            self.type, self.index = kind, 0 if kind != "cpu" else None

    def __init__(self, memory, dtype, contiguous=True, device="cpu"):
        self.memory, self.dtype, self.device = memory, f"torch.{dtype}", self.Device(device)
        self.shape, self.contiguous = (len(memory),), contiguous

    def data_ptr(self):
        return self.memory.buffer_info()[0]

    def element_size(self):
        return self.memory.itemsize

    def is_contiguous(self):
        return self.contiguous
