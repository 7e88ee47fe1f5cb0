# SPDX-License-Identifier: Apache-2.0
"""Arrays that claim to lie on a GPU, for what an op refuses where there is none; and whether there
is one."""
import ds_ops

BASE = 1 << 20  # an address that is aligned and never read: the checks come before any use


class FakeArray:
    """An array that claims to lie on a GPU."""

    def __init__(self, address=BASE, shape=(4,), typestr="<f4", readonly=False, strides=None,
                 stream=None):
        self.shape = shape
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "version": 3,
                                         "data": (address, readonly), "strides": strides,
                                         "stream": stream}


class FakeTensor:
    """The methods of a PyTorch tensor that are used."""

    class Device:
        def __init__(self, kind, index):
            self.type, self.index = kind, index

    def __init__(self, address=BASE, shape=(4,), kind="cuda", index=0):
        self.address, self.shape, self.dtype = address, shape, "torch.float32"
        self.device = self.Device(kind, index)

    def data_ptr(self):
        return self.address

    def element_size(self):
        return 4

    def is_contiguous(self):
        return True


def four(make=FakeArray, **keywords):
    return [make(address=BASE + 4096 * i, **keywords) for i in range(4)]


def gpu_missing(op):
    """Why ``op``, a module, has no GPU to use, or None."""
    try:
        op.self_test()
    except ds_ops.CannotRun as error:
        return error.reason
    except Exception:  # pylint: disable=broad-except
        return None  # it is there, and the tests shall say what is wrong
    return None
