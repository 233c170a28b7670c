"""Introduction: what a managed peer of the load says first; see introduction.pxd for the contract."""

from libc.errno cimport EAGAIN, EINTR, EPROTO, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from zproxy.envelope cimport (
    ACCEPTED, FAULT_NONE, HELLO, READY, WELCOME, Kind, envelope_begin, envelope_bytes,
    envelope_read, envelope_write
)
from zproxy.libzmq cimport ZMQ_SNDMORE


cdef int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef bint frame_read(const LibZmq* zmq, zmq_msg_t* frame, EnvelopeView* envelope) noexcept nogil:
    return envelope_read(<const uint8_t*>zmq.msg_data(frame), zmq.msg_size(frame), envelope) == FAULT_NONE


cdef int envelope_send(const LibZmq* zmq, void* socket, const EnvelopeView* envelope, int flags) noexcept nogil:
    cdef zmq_msg_t frame
    if zmq.msg_init_size(&frame, envelope_bytes(envelope)) != 0:
        return errno
    envelope_write(<uint8_t*>zmq.msg_data(&frame), envelope)
    return errno if zmq.msg_send(&frame, socket, flags) < 0 else 0


# One whole message; of its first frame the head is kept. 0 or an errno.
cdef int message_take(const LibZmq* zmq, void* socket, EnvelopeView* envelope) noexcept nogil:
    cdef zmq_msg_t frame
    cdef int more = 1
    cdef bint is_first = True
    cdef int code = 0
    while more and code == 0:
        zmq.msg_init(&frame)
        if zmq.msg_recv(&frame, socket, 0) < 0:
            code = errno
        else:
            more = zmq.msg_more(&frame)
            if is_first and not frame_read(zmq, &frame, envelope):
                code = EPROTO
            is_first = False
        zmq.msg_close(&frame)
    return code


# Its kind has to be `wanted`. The socket's own time-out may be shorter than ours.
cdef int message_await(
    const LibZmq* zmq, void* socket, Kind wanted, int64_t until_ns, EnvelopeView* envelope
) noexcept nogil:
    cdef int code = EAGAIN
    while code == EAGAIN or code == EINTR:
        if clock_ns() >= until_ns:
            return EAGAIN
        code = message_take(zmq, socket, envelope)
    if code == 0 and envelope.head.kind != <uint8_t>wanted:
        return EPROTO
    return code


cdef int offer_send(const LibZmq* zmq, void* socket) noexcept nogil:
    cdef zmq_msg_t frame
    if zmq.msg_init_size(&frame, 12) != 0:
        return errno
    memcpy(zmq.msg_data(&frame), <const char*>b"\x00\x04\x00\x00\x00\x00\x00\x00load", 12)
    return errno if zmq.msg_send(&frame, socket, 0) < 0 else 0


cdef int introduce(
    const LibZmq* zmq, void* socket, bint is_worker, const char* name, uint64_t incarnation, int64_t timeout_ns,
    uint32_t* conversation
) noexcept nogil:
    cdef EnvelopeView envelope
    cdef int64_t until_ns = clock_ns() + timeout_ns
    cdef int code = message_await(zmq, socket, WELCOME, until_ns, &envelope)
    if code:
        return code
    conversation[0] = envelope.head.conversation
    envelope_begin(&envelope, READY if is_worker else HELLO)
    envelope.head.name_bytes = <uint8_t>strlen(name)
    envelope.name = <const uint8_t*>name
    envelope.head.incarnation = incarnation
    envelope.head.conversation = conversation[0]
    envelope.head.credit = LOAD_CREDIT if is_worker else 0
    code = envelope_send(zmq, socket, &envelope, ZMQ_SNDMORE if is_worker else 0)
    if code == 0 and is_worker:
        code = offer_send(zmq, socket)
    return code or message_await(zmq, socket, ACCEPTED, until_ns, &envelope)
