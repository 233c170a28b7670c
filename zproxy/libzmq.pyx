"""Libzmq: the C functions of the libzmq that pyzmq brings; see libzmq.pxd for the contract."""

import os

from libc.stdint cimport uintptr_t
from posix.dlfcn cimport RTLD_LAZY, dlopen, dlsym

from zproxy.errors import LibzmqMissing

cdef extern from "<dlfcn.h>" nogil:
    enum: RTLD_NOLOAD

NAMES = (
    "zmq_ctx_new", "zmq_ctx_term", "zmq_socket", "zmq_close", "zmq_bind", "zmq_connect", "zmq_setsockopt",
    "zmq_getsockopt", "zmq_msg_init", "zmq_msg_init_size", "zmq_msg_init_data", "zmq_msg_send", "zmq_msg_recv",
    "zmq_msg_close", "zmq_msg_move", "zmq_msg_more", "zmq_msg_size", "zmq_msg_data", "zmq_strerror",
    "zmq_version",
)

cdef LibZmq table               # written once, under the GIL
cdef bint is_filled = False


def extension_path():
    """The file of pyzmq's loaded extension, where its libzmq is found. Raises LibzmqMissing."""
    try:
        from zmq.backend.cython import _zmq
    except ImportError as error:
        raise LibzmqMissing(f"pyzmq has no compiled backend ({error}): install its wheel for CPython") from error
    return _zmq.__file__


def address_of(name):
    """Where the C function `name` lies in this process. Raises LibzmqMissing."""
    path = extension_path()
    cdef bytes file_name = os.fsencode(path)
    cdef bytes symbol_name = name.encode()
    cdef void* library = dlopen(file_name, RTLD_LAZY | RTLD_NOLOAD)
    cdef void* symbol = NULL if library == NULL else dlsym(library, symbol_name)
    if symbol == NULL:
        raise LibzmqMissing(f"{name} is not to be found in {path}: install pyzmq 26 or later with libzmq 4.2 or later")
    return <uintptr_t>symbol


def version():
    """libzmq's version, such as "4.3.5"."""
    cdef int major
    cdef int minor
    cdef int patch
    libzmq_table().version(&major, &minor, &patch)
    return f"{major}.{minor}.{patch}"


cdef const LibZmq* libzmq_table() except NULL:
    global is_filled
    cdef void** entries = <void**>&table
    if not is_filled:
        assert len(NAMES) * sizeof(void*) == sizeof(LibZmq)
        for index, name in enumerate(NAMES):
            entries[<int>index] = <void*><uintptr_t>address_of(name)
        is_filled = True
    return &table


cdef int libzmq_check(int code) except -1:
    if code:
        raise OSError(code, (<const char*>libzmq_table().strerror(code)).decode())
    return 0
