"""Worker: sends every message back as it came, frames moved and not copied. A libzmq DEALER or ROUTER, or a managed
worker, whose envelope alone is another.

Runs in a process of its own until that is killed.
"""

import os

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, EPROTO, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from zproxy.envelope cimport REPLY, REQUEST, EnvelopeView, envelope_begin
from zproxy.libzmq cimport (
    ZMQ_DEALER, ZMQ_LAST_ENDPOINT, ZMQ_ROUTER, ZMQ_SNDMORE, LibZmq, libzmq_check, libzmq_table, zmq_msg_t
)
from zproxy.loadgen.introduction cimport envelope_send, frame_read, introduce
from zproxy.loadgen.sockets cimport (
    CURVE_KEYS_BYTES, Sockets, sockets_close, sockets_connect, sockets_open, sockets_wait
)

cdef enum:
    ENDPOINT_BYTES = 256
    INTRODUCTION_NS = 10_000_000_000


# The envelope of a reply goes out for a request's. 0, or an errno: EAGAIN when there is none.
cdef int head_answer(const LibZmq* zmq, void* socket, uint32_t conversation, int receive_flags) noexcept nogil:
    cdef zmq_msg_t frame
    cdef EnvelopeView asked
    cdef EnvelopeView answer
    cdef int code = 0
    zmq.msg_init(&frame)
    if zmq.msg_recv(&frame, socket, receive_flags) < 0:
        code = errno
    elif not frame_read(zmq, &frame, &asked) or asked.head.kind != <unsigned char>REQUEST or not zmq.msg_more(&frame):
        code = EPROTO
    else:
        envelope_begin(&answer, REPLY)
        answer.head.incarnation = asked.head.incarnation
        answer.head.sequence = asked.head.sequence
        answer.head.lease = asked.head.lease
        answer.head.conversation = conversation
        code = envelope_send(zmq, socket, &answer, ZMQ_SNDMORE)
    zmq.msg_close(&frame)
    return code


# One message there and back. 0, or an errno: EAGAIN when there is none.
cdef int echo(const LibZmq* zmq, void* socket, uint32_t conversation, int receive_flags) noexcept nogil:
    cdef zmq_msg_t frame
    cdef int more = 1
    cdef int code = 0
    if conversation:
        code = head_answer(zmq, socket, conversation, receive_flags)
    while more and code == 0:
        zmq.msg_init(&frame)
        if zmq.msg_recv(&frame, socket, receive_flags) < 0:
            code = errno
        else:
            more = zmq.msg_more(&frame)
            if zmq.msg_send(&frame, socket, ZMQ_SNDMORE if more else 0) < 0:
                code = errno
        zmq.msg_close(&frame)
    return code


# All that has come there; the errno that ended it, EAGAIN where there is no more.
cdef int serve_one(const Sockets* sockets, const uint32_t* conversations, int index) noexcept nogil:
    cdef int code = 0
    while code == 0:
        code = echo(sockets.zmq, sockets.sockets[index], conversations[index], sockets.receive_flags)
    return code


# Until a socket fails or a signal comes; the errno. An introduction has not read until EAGAIN (Rule 1 of Sockets), so
# each is looked at once before the first wait.
cdef int serve_all(Sockets* sockets, const uint32_t* conversations) noexcept nogil:
    cdef int index
    cdef int ready = sockets.count
    cdef int code
    for index in range(ready):
        sockets.ready[index] = index
    while ready:
        for index in range(ready):
            code = serve_one(sockets, conversations, sockets.ready[index])
            if code != EAGAIN:
                return code
        ready = sockets_wait(sockets)
    return EINTR


cdef class Worker:
    """`count` sockets of one thread that send back whatever they are sent."""

    cdef Sockets sockets
    cdef uint32_t* conversations    # by socket; 0 = a plain one
    cdef bint is_managed

    def __cinit__(self, *, bint is_router=False, int count=1, bint is_managed=False):
        cdef const LibZmq* zmq = libzmq_table()
        self.is_managed = is_managed
        self.conversations = <uint32_t*>calloc(count, sizeof(uint32_t))
        if self.conversations == NULL:
            raise MemoryError
        libzmq_check(sockets_open(&self.sockets, zmq, ZMQ_ROUTER if is_router else ZMQ_DEALER, count, -1))

    def __dealloc__(self):
        sockets_close(&self.sockets)
        free(self.conversations)

    def connect(self, endpoint, bytes keys=b""):
        """Connects every socket there, with `keys` as Clients has them, and introduces managed ones. Raises OSError."""
        cdef bytes place = endpoint.encode()
        cdef bytes called
        cdef const char* spoken
        cdef uint64_t incarnation = <uint64_t>os.getpid()
        cdef int index
        cdef int code = 0
        if len(keys) not in (0, CURVE_KEYS_BYTES):
            raise ValueError(f"three keys have {<int>CURVE_KEYS_BYTES} bytes, not {len(keys)}")
        libzmq_check(sockets_connect(
            &self.sockets, place, self.is_managed, <const uint8_t*><const char*>keys if keys else NULL
        ))
        for index in range(self.sockets.count if self.is_managed else 0):
            called = f"load-{incarnation:x}-{index}".encode()
            spoken = called
            with nogil:
                code = introduce(
                    self.sockets.zmq, self.sockets.sockets[index], True, spoken, incarnation,
                    INTRODUCTION_NS, &self.conversations[index],
                )
            libzmq_check(code)

    def bind(self, endpoint):
        """Binds the first socket; the endpoint with its port. Raises OSError."""
        cdef bytes name = endpoint.encode()
        cdef char[ENDPOINT_BYTES] bound
        cdef size_t bound_bytes = sizeof(bound)
        cdef void* socket = self.sockets.sockets[0]
        if self.sockets.zmq.bind(socket, name) != 0:
            libzmq_check(errno)
        if self.sockets.zmq.getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &bound_bytes) != 0:
            libzmq_check(errno)
        return (<const char*>bound).decode()

    def serve(self):
        """Never returns; raises OSError, or what a signal's handler raises."""
        cdef int code
        while True:
            with nogil:
                code = serve_all(&self.sockets, self.conversations)
            if code != EINTR:
                libzmq_check(code)
            PyErr_CheckSignals()
