# SPDX-License-Identifier: Apache-2.0
"""The C functions by themselves, with wrong arguments."""
import ctypes
import unittest

from ds_ops.async_io import _native, aio_handle
from support import Memory


class Border(unittest.TestCase):
    """The library checks for itself."""

    def test_options(self):
        lib = _native.lib
        handle = ctypes.c_void_p()
        good = (1 << 20, 8, 1, 0, 0, 0)
        for change, code in (({}, 0), ({0: 4095}, 50), ({0: 1 << 31}, 50), ({1: 0}, 51),
                             ({1: 4097}, 51), ({2: 0}, 52), ({2: 65}, 52), ({5: 3}, 53),
                             ({5: -1}, 53)):
            options = _native.Options(*(change.get(i, value) for i, value in enumerate(good)))
            self.assertEqual(lib.ds_ops_async_io_open(ctypes.byref(options), ctypes.byref(handle)),
                             code)
        self.assertEqual(lib.ds_ops_async_io_open(None, ctypes.byref(handle)), 1)
        self.assertEqual(lib.ds_ops_async_io_open(
            ctypes.byref(_native.Options(*good)), None), 1)
        self.assertEqual(lib.ds_ops_async_io_free(handle), 0)
        self.assertEqual(lib.ds_ops_async_io_free(None), 1)

    def test_requests(self):
        lib = _native.lib
        memory, number, result = Memory(8), ctypes.c_int64(), _native.Result()
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory.view))
        with aio_handle() as owner:
            handle = owner._state.native
            for request, code in (((None, 8, 0, b"x", -1, 0, 0), 1),
                                  ((address, -1, 0, b"x", -1, 0, 0), 2),
                                  ((address, (1 << 63) - 1, 0, b"x", -1, 0, 0), 55),
                                  ((address, 8, -1, b"x", -1, 0, 0), 55),
                                  ((address, 8, (1 << 63) - 1, b"x", -1, 0, 0), 55),
                                  ((address, 8, 0, b"x", -1, 2, 0), 54),
                                  ((address, 8, 0, None, -1, 0, 0), 3009),
                                  ((address, 8, 0, b"", -1, 0, 0), 3002)):
                asked = _native.Request(*request)
                self.assertEqual(lib.ds_ops_async_io_submit(
                    handle, ctypes.byref(asked), ctypes.byref(number)), code, request)
            self.assertEqual(lib.ds_ops_async_io_submit(handle, None, ctypes.byref(number)), 1)
            for wrong in (1, -1, 12345):
                self.assertEqual(lib.ds_ops_async_io_wait(handle, wrong, 0, ctypes.byref(result)),
                                 59)
            self.assertEqual(lib.ds_ops_async_io_wait(handle, 0, 1, ctypes.byref(result)), 60)
            self.assertEqual(lib.ds_ops_async_io_wait(handle, 0, 0, None), 1)
            self.assertEqual(lib.ds_ops_async_io_work(handle), 52)
            self.assertEqual(lib.ds_ops_async_io_report(handle, None), 1)
            self.assertEqual(lib.ds_ops_async_io_lock(None, 5), 1)
            owner.close()
            self.assertEqual(lib.ds_ops_async_io_wait(handle, 0, -1, ctypes.byref(result)), 61)


if __name__ == "__main__":
    unittest.main()
