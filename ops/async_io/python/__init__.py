# SPDX-License-Identifier: Apache-2.0
"""Reads and writes of arrays from and to NVMe, many at one time, past the page cache.

    from ds_ops.async_io import aio_handle
    with aio_handle(overlap_events=True) as handle:
        handle.sync_pwrite(tensor, "/nvme/tensor")
        future = handle.read_future(other, "/nvme/tensor")

io_uring moves the bytes (https://kernel.dk/io_uring.pdf), or Linux native AIO where the kernel
refuses it (old kernels, container profiles); no library is needed for either. Names and meanings
are those of DeepSpeed's ``async_io`` op.

Whole blocks of the file go by O_DIRECT, straight from or to the array if its address allows it,
else through a buffer. Parts of blocks, which O_DIRECT cannot write, go through the page cache; so
does everything on file systems without O_DIRECT (tmpfs). ``aio_handle.report`` tells how much.
"""
from __future__ import annotations

import ctypes
from typing import Any, Union

from ds_ops import _arrays
from ds_ops._library import CannotRun
from ds_ops.async_io._handle import aio_handle
from ds_ops.async_io._native import ENGINES

__all__ = ["aio_handle", "aio_read", "aio_write", "deepspeed_memcpy", "engines", "self_test"]


def aio_read(buffer: Any, filename: Any, block_size: int = 1 << 20, queue_depth: int = 128,
             single_submit: bool = False, overlap_events: bool = False,
             validate: bool = False) -> int:
    """Fills ``buffer`` from the beginning of a file and returns 0; see ``aio_handle.read``."""
    with aio_handle(block_size, queue_depth, single_submit, overlap_events) as handle:
        return handle.read(buffer, filename, validate)


def aio_write(buffer: Any, filename: Any, block_size: int = 1 << 20, queue_depth: int = 128,
              single_submit: bool = False, overlap_events: bool = False,
              validate: bool = False) -> int:
    """Writes ``buffer`` to the beginning of a file and returns 0; see ``aio_handle.write``."""
    with aio_handle(block_size, queue_depth, single_submit, overlap_events) as handle:
        return handle.write(buffer, filename, validate)


def deepspeed_memcpy(dest: Any, src: Any) -> int:
    """Copies the bytes of ``src`` to ``dest``, CPU arrays of the same size, and returns 0."""
    to, source = _arrays.view("dest", dest, writable=True), _arrays.view("src", src)
    if to.nbytes != source.nbytes:
        raise ValueError(f"dest: has {to.nbytes} bytes, src has {source.nbytes}")
    _arrays.check_overlap([source], [to])
    if to.nbytes:
        ctypes.memmove(to.pointer, source.pointer, to.nbytes)
    return 0


def engines() -> "dict[str, Union[str, None]]":
    """The engines, each with None, or with why the kernel refuses it here."""
    found = {}
    for engine in ENGINES:
        if engine != "any":
            try:
                aio_handle(queue_depth=1, engine=engine).close()
                found[engine] = None
            except OSError as error:
                found[engine] = error.strerror
    return found


def self_test() -> None:
    """Writes and reads a few blocks with each engine that the kernel has here."""
    refused = engines()
    usable = [engine for engine, why in refused.items() if why is None]
    if not usable:
        raise CannotRun("the kernel refuses " + " and ".join(
            f"{engine} ({why})" for engine, why in refused.items()))
    file, folder = _scratch(20003)
    try:
        for engine in usable:
            _there_and_back(file, engine)
    finally:
        if folder is None:
            import os
            os.close(file)
        else:
            folder.cleanup()


def _scratch(size: int) -> "tuple[Any, Any]":
    """A path and its folder; a descriptor and None where no file can be made."""
    import os
    import tempfile
    try:
        folder = tempfile.TemporaryDirectory(prefix="ds_ops-")
        path = os.path.join(folder.name, "file")
        with open(path, "wb") as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
        return path, folder
    except OSError:
        return os.memfd_create("ds_ops"), None


def _there_and_back(file: Any, engine: str) -> None:
    sent = bytes(i * 7 % 251 for i in range(17001))
    back = bytearray(len(sent))
    with aio_handle(4096, 4, engine=engine) as handle:
        handle.sync_pwrite(sent, file, 3001)
        handle.sync_pread(back, file, 3001)
        assert back == sent, f"{engine} read other bytes than it wrote"
        try:
            handle.sync_pread(back, file, 1 << 30)
        except EOFError:
            return
    raise AssertionError(f"{engine} read behind the end of a file")
