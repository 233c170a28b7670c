"""Worker: sends every message back as it came, frames moved and not copied. A plain libzmq DEALER or ROUTER.

Runs in a process of its own until that is killed.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno

from zproxy.libzmq cimport (
    ZMQ_DEALER, ZMQ_LAST_ENDPOINT, ZMQ_ROUTER, ZMQ_SNDMORE, LibZmq, libzmq_check, libzmq_table, zmq_msg_t
)
from zproxy.loadgen.sockets cimport Sockets, sockets_close, sockets_connect, sockets_open, sockets_wait

cdef enum:
    ENDPOINT_BYTES = 256


# One message there and back. 0, or an errno: EAGAIN when there is none.
cdef int echo(const LibZmq* zmq, void* socket, int receive_flags) noexcept nogil:
    cdef zmq_msg_t frame
    cdef int more = 1
    cdef int code = 0
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


# Until a socket fails or a signal comes; the errno.
cdef int serve_all(Sockets* sockets) noexcept nogil:
    cdef int index
    cdef int ready
    cdef int code
    while True:
        ready = sockets_wait(sockets)
        if ready == 0:
            return EINTR
        for index in range(ready):
            code = 0
            while code == 0:
                code = echo(sockets.zmq, sockets.sockets[sockets.ready[index]], sockets.receive_flags)
            if code != EAGAIN:
                return code


cdef class Worker:
    """`count` sockets of one thread that send back whatever they are sent."""

    cdef Sockets sockets

    def __cinit__(self, *, bint is_router=False, int count=1):
        cdef const LibZmq* zmq = libzmq_table()
        libzmq_check(sockets_open(&self.sockets, zmq, ZMQ_ROUTER if is_router else ZMQ_DEALER, count, -1))

    def __dealloc__(self):
        sockets_close(&self.sockets)

    def connect(self, endpoint):
        """Connects every socket there. Raises OSError."""
        cdef bytes name = endpoint.encode()
        libzmq_check(sockets_connect(&self.sockets, name))

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
                code = serve_all(&self.sockets)
            if code != EINTR:
                libzmq_check(code)
            PyErr_CheckSignals()
