# SPDX-License-Identifier: Apache-2.0
"""One real call of each CPU op of DeepSpeed, with what it gives compared; confirm_deepspeed.py
stands after this text.

CALLS: op -> function(torch, module, folder) that says what it did. Raises Wrong, CannotRun or
NotKnown. Signatures are those that DeepSpeed has had since 0.8.
"""
import ctypes
import math
import os
import struct

TRIED_WITH = 150  # elements: a few vectors of any CPU, and a rest


class Wrong(Exception):
    """The library cannot be loaded, or gives wrong results; the text says how."""

    plain = True


class CannotRun(Exception):
    """This host lacks what the call needs, and the wheel is not to blame."""


class NotKnown(Exception):
    """The op has other functions than those that are called here."""


def functions(holder, *names):
    found = [getattr(holder, name, None) for name in names]
    if None in found:
        raise NotKnown()
    return found


def check(what, tensor, wanted):
    for at, (found, value) in enumerate(zip(tensor.tolist(), wanted)):
        if not math.isclose(found, value, rel_tol=1e-4, abs_tol=1e-7):
            raise Wrong("%s[%d] is %r and should be %r" % (what, at, found, value))


def samples(torch):
    """Parameters and gradients, each as numbers and as a tensor."""
    numbers = [[scale * math.cos(at) for at in range(TRIED_WITH)] for scale in (2.0, 0.5)]
    return [(values, torch.tensor(values, dtype=torch.float32)) for values in numbers]


def try_adam(torch, op, _):
    create, update, destroy = functions(op, "create_adam", "adam_update", "destroy_adam")
    rate, beta1, beta2, eps, decay = 0.01, 0.9, 0.999, 1e-8, 0.1
    (start, param), (slope, grad) = samples(torch)
    mean, square = torch.zeros(TRIED_WITH), torch.zeros(TRIED_WITH)
    create(0, rate, beta1, beta2, eps, decay, True, False)
    try:
        update(0, 1, rate, beta1, beta2, eps, decay, True, param, grad, mean, square)
    finally:
        destroy(0)
    # The corrections of the first step make the mean the gradient and the root its size.
    check("parameter", param, [p * (1 - rate * decay) - rate * g / (abs(g) + eps)
                               for p, g in zip(start, slope)])
    check("mean", mean, [(1 - beta1) * g for g in slope])
    check("mean square", square, [(1 - beta2) * g * g for g in slope])
    return "one step of Adam"


def try_adagrad(torch, op, _):
    create, update, destroy = functions(op, "create_adagrad", "adagrad_update", "destroy_adagrad")
    rate, eps = 0.01, 1e-8
    (start, param), (slope, grad) = samples(torch)
    total = torch.full((TRIED_WITH,), 0.25)
    create(0, rate, eps, 0.0, False)
    try:
        update(0, 1, rate, eps, 0.0, param, grad, total)
    finally:
        destroy(0)
    totals = [0.25 + g * g for g in slope]
    check("parameter", param, [p - rate * g / (math.sqrt(t) + eps)
                               for p, g, t in zip(start, slope, totals)])
    check("sum of squares", total, totals)
    return "one step of Adagrad"


def try_lion(torch, op, _):
    create, update, destroy = functions(op, "create_lion", "lion_update", "destroy_lion")
    rate, beta1, beta2, decay = 0.01, 0.9, 0.99, 0.1
    (start, param), (slope, grad) = samples(torch)
    mean = torch.full((TRIED_WITH,), 0.02)
    create(0, rate, beta1, beta2, decay, False)
    try:
        update(0, 1, rate, beta1, beta2, decay, param, grad, mean)
    finally:
        destroy(0)
    check("parameter", param, [
        p * (1 - rate * decay) - rate * math.copysign(1, beta1 * 0.02 + (1 - beta1) * g)
        for p, g in zip(start, slope)])
    check("mean", mean, [beta2 * 0.02 + (1 - beta2) * g for g in slope])
    return "one step of Lion"


def try_utils(torch, op, _):
    (_, tensor), _ = samples(torch)
    if hasattr(op, "cast_to_byte_tensor"):
        if bytes(op.cast_to_byte_tensor(tensor).tolist()) != struct.pack(
                "=%df" % TRIED_WITH, *tensor.tolist()):
            raise Wrong("the bytes of a tensor are not those of its numbers")
        return "one tensor as bytes"
    flatten, unflatten = functions(op, "flatten", "unflatten")
    parts = [tensor[:7].clone(), tensor[7:].clone()]
    flat = flatten(parts)
    check("flat tensor", flat, tensor.tolist())
    for ours, part in zip(parts, unflatten(flat, parts)):
        check("unflattened tensor", part, ours.tolist())
    return "two tensors as one"


def require_locked_memory():
    page = ctypes.create_string_buffer(8192)
    libc, size = ctypes.CDLL(None, use_errno=True), ctypes.c_size_t(8192)
    if libc.mlock(page, size) != 0:
        raise CannotRun("memory cannot be locked: %s (ulimit -l)" % os.strerror(ctypes.get_errno()))
    libc.munlock(page, size)


def try_pin_memory(torch, op, _):
    handle = functions(op, "pin_handle")[0]()
    require_locked_memory()
    (example, tensor), _ = samples(torch)
    pinned = handle.new_cpu_locked_tensor(TRIED_WITH, tensor)
    pinned.copy_(tensor)
    check("locked tensor", pinned, example)
    if not handle.is_pinned(pinned):
        raise Wrong("a locked tensor is not known as locked")
    if not handle.free_cpu_locked_tensor(pinned):
        raise Wrong("a locked tensor could not be freed")
    return "one locked tensor"


def require_direct_io(folder):
    """The op checks neither of these: it ends the process, or what it reads is not what it says."""
    path = os.path.join(folder, "direct")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600))
    except OSError as error:
        raise CannotRun("O_DIRECT does not work in %s: %s"
                        % (os.path.dirname(folder), error.strerror))
    try:
        aio = ctypes.CDLL("libaio.so.1")
    except OSError:
        return  # under another name: the op found it
    context = ctypes.c_void_p()
    failed = aio.io_setup(8, ctypes.byref(context))
    if failed:
        raise CannotRun("asynchronous I/O does not work here: io_setup: %s" % os.strerror(-failed))
    aio.io_destroy(context)


def try_async_io(torch, op, folder):
    make = functions(op, "aio_handle")[0]
    require_locked_memory()
    require_direct_io(folder)
    handle = make(16384, 8, False, False, 1)
    allocate, free, write, read = functions(handle, "new_cpu_locked_tensor",
                                            "free_cpu_locked_tensor", "sync_pwrite", "sync_pread")
    size = 65536
    data = bytes((at * 7 + at // 256) % 256 for at in range(size))
    buffer = allocate(size, torch.empty(0, dtype=torch.uint8))
    try:
        buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        written = os.path.join(folder, "written")
        write(buffer, written)
        with open(written, "rb") as file:
            if file.read() != data:
                raise Wrong("a file that it wrote has other bytes")
        with open(os.path.join(folder, "other"), "wb") as file:
            file.write(data[::-1])
        read(buffer, file.name)
        if bytes(buffer.tolist()) != data[::-1]:
            raise Wrong("it read other bytes than a file has")
    finally:
        free(buffer)
    return "a file written and one read"


CALLS = {"cpu_adam": try_adam, "cpu_adagrad": try_adagrad, "cpu_lion": try_lion,
         "utils": try_utils, "pin_memory": try_pin_memory, "async_io": try_async_io}


