"""Sockets: plain libzmq sockets of one thread with one context, and which of them may have something.

One socket is received from with blocking calls, as most programs do it. Several are watched by epoll(7) through
their ZMQ_FD.

Rule 1. What `sockets_wait` named is received from until it says EAGAIN: ZMQ_FD tells of news once.
Rule 2. After sending it is received from again, for sending takes the news too.
"""

from libc.stdint cimport uint8_t

from zproxy.libzmq cimport LibZmq

cdef enum:
    CURVE_KEY_BYTES = 32
    CURVE_KEYS_BYTES = 96       # public, secret, and the server's public

cdef struct Sockets:            # owns everything but `zmq`
    const LibZmq* zmq
    void* context
    void** sockets
    int count
    int epoll_fd
    int timeout_ms              # how long a receive or a wait blocks; -1 = for ever
    int receive_flags           # 0 for one socket, ZMQ_DONTWAIT for several
    int* ready                  # indices, filled by sockets_wait

# `count` sockets of `kind` without high-water marks. 0 or an errno; sockets_close tolerates half of it.
cdef int sockets_open(Sockets* sockets, const LibZmq* zmq, int kind, int count, int timeout_ms) noexcept nogil
cdef void sockets_close(Sockets* sockets) noexcept nogil

# Connects every one of them, as managed peers or as plain ones, with the same CURVE_KEYS_BYTES; NULL: without CURVE.
# 0 or an errno.
cdef int sockets_connect(
    Sockets* sockets, const char* endpoint, bint is_managed, const uint8_t* keys
) noexcept nogil

# How many of `ready` are filled; 0 after timeout_ms or an interruption. One socket is always named, at once.
cdef int sockets_wait(Sockets* sockets) noexcept nogil
