"""Introduction: what a managed peer of the load says before its first message, and the envelopes it speaks in.

    WELCOME ◄─   HELLO or READY ─►   ACCEPTED ◄─
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zproxy.envelope cimport EnvelopeView
from zproxy.libzmq cimport LibZmq, zmq_msg_t

cdef enum:
    LOAD_CREDIT = 65535         # the client's window bounds what a worker has

# Of a node (`is_worker` False) or of a worker of service "load". `*conversation` is what
# all it says has to carry. 0, EAGAIN when nothing came within `timeout_ns`, another errno, or EPROTO: refused.
cdef int introduce(
    const LibZmq* zmq, void* socket, bint is_worker, const char* name, uint64_t incarnation, int64_t timeout_ns,
    uint32_t* conversation
) noexcept nogil

# The envelope in a frame. False: it is none.
cdef bint frame_read(const LibZmq* zmq, zmq_msg_t* frame, EnvelopeView* envelope) noexcept nogil

# Sends it as a frame of its own. 0 or an errno.
cdef int envelope_send(const LibZmq* zmq, void* socket, const EnvelopeView* envelope, int flags) noexcept nogil
