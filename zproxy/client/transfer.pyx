"""Transfer: whole messages into and out of one of pyzmq's sockets, without a step of Python for each frame.

Called by ManagedSocket alone, under its owner's lock. Never blocks; never looks into a frame.

    receive     libzmq ─► [bytes, bytes, LargeFrame …]       a copy of what is small; the memory of what is large
    send        [frame …] ─► libzmq                          the same; large ones go through pyzmq, which keeps them
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

from zproxy.libzmq cimport (
    ZMQ_DONTWAIT, ZMQ_EVENTS, ZMQ_POLLIN, ZMQ_SNDMORE, LibZmq, libzmq_table, zmq_msg_t
)

import zmq
import zmq.backend

cdef enum:
    COPIED_BELOW = 65536        # bytes; smaller frames cost less to copy than to hand over

# pyzmq's own send without the layer that asks for routing ids and groups.
cdef object pyzmq_send = zmq.backend.Socket.send


cdef class LargeFrame:
    """A frame that came, in libzmq's memory: a read-only buffer, as long as it is referenced."""

    cdef const LibZmq* zmq
    cdef zmq_msg_t message

    def __cinit__(self):
        self.zmq = libzmq_table()
        self.zmq.msg_init(&self.message)

    def __dealloc__(self):
        if self.zmq != NULL:
            self.zmq.msg_close(&self.message)

    def __len__(self):
        return self.zmq.msg_size(&self.message)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef zmq_msg_t* message = &self.message
        PyBuffer_FillInfo(buffer, self, self.zmq.msg_data(message), self.zmq.msg_size(message), True, flags)


cdef class Transfer:
    """Of `socket`, until `close`; afterwards every call raises ZMQError, as a closed socket does."""

    cdef const LibZmq* zmq
    cdef object owner           # pyzmq's socket
    cdef void* socket           # the same one of libzmq's; NULL: closed

    def __cinit__(self, owner):
        self.zmq = libzmq_table()
        self.owner = owner
        self.socket = <void*><uintptr_t>owner.underlying

    def close(self):
        """Forgets the socket, which its owner closes."""
        self.socket = NULL

    def is_readable(self):
        """Is a message there? Takes the edge of ZMQ_FD."""
        cdef int events = 0
        cdef size_t events_bytes = sizeof(events)
        self.check()
        if self.zmq.getsockopt(self.socket, ZMQ_EVENTS, &events, &events_bytes) != 0:
            raise zmq.ZMQError(errno)
        return events & ZMQ_POLLIN != 0

    def receive(self):
        """The frames of the next message; None: there is none, and the edge of ZMQ_FD is taken."""
        cdef zmq_msg_t message
        cdef list frames = None
        cdef bint is_more
        self.check()
        self.zmq.msg_init(&message)
        try:
            while self.received(&message):
                is_more = self.zmq.msg_more(&message)   # a large one is taken over, flags and all
                if frames is None:
                    frames = []
                frames.append(self.taken(&message))
                if not is_more:
                    break
        finally:
            self.zmq.msg_close(&message)
        return frames

    def send(self, message):
        """False if it cannot be taken now, nothing of it. Large frames are not copied: leave them unchanged."""
        cdef Py_ssize_t left = len(message)
        cdef int flags
        self.check()
        for frame in message:
            left -= 1
            flags = ZMQ_DONTWAIT | ZMQ_SNDMORE if left else ZMQ_DONTWAIT
            if type(frame) is bytes and len(<bytes>frame) < COPIED_BELOW:
                if not self.send_copy(<bytes>frame, flags):
                    return False
            elif not self.send_large(frame, flags):
                return False
        return True

    cdef int check(self) except -1:
        if self.socket == NULL:
            raise zmq.ZMQError(zmq.ENOTSOCK)
        return 0

    # False: there is none. That is said before a first frame only: libzmq hands out whole messages.
    cdef bint received(self, zmq_msg_t* message) except -1:
        while self.zmq.msg_recv(message, self.socket, ZMQ_DONTWAIT) < 0:
            if errno == EAGAIN:
                return False
            if errno != EINTR:
                raise zmq.ZMQError(errno)
        return True

    # What `message` has; the memory of a large one is taken over.
    cdef object taken(self, zmq_msg_t* message):
        cdef size_t count = self.zmq.msg_size(message)
        cdef LargeFrame large
        if count < COPIED_BELOW:
            return PyBytes_FromStringAndSize(<char*>self.zmq.msg_data(message), count)
        large = LargeFrame.__new__(LargeFrame)
        self.zmq.msg_move(&large.message, message)
        return large

    cdef bint send_copy(self, bytes frame, int flags) except -1:
        cdef zmq_msg_t message
        cdef size_t count = len(frame)
        if self.zmq.msg_init_size(&message, count) != 0:
            raise MemoryError
        memcpy(self.zmq.msg_data(&message), <const char*>frame, count)
        while self.zmq.msg_send(&message, self.socket, flags) < 0:
            if errno == EINTR:
                continue
            self.zmq.msg_close(&message)
            if errno == EAGAIN:
                return False
            raise zmq.ZMQError(errno)
        return True

    cdef bint send_large(self, frame, int flags) except -1:
        try:
            pyzmq_send(self.owner, frame, flags, memoryview(frame).nbytes < COPIED_BELOW)
        except zmq.Again:
            return False
        return True
