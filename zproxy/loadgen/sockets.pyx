"""Sockets: plain libzmq sockets of one thread; see sockets.pxd for the contract."""

from libc.errno cimport ENOMEM, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strchr
from posix.unistd cimport close

from zproxy.libzmq cimport (
    ZMQ_CURVE_PUBLICKEY, ZMQ_CURVE_SECRETKEY, ZMQ_CURVE_SERVERKEY, ZMQ_DONTWAIT, ZMQ_FD, ZMQ_IPV6, ZMQ_LINGER,
    ZMQ_METADATA, ZMQ_RCVHWM, ZMQ_RCVTIMEO, ZMQ_SNDHWM, LibZmq
)

cdef extern from "<sys/epoll.h>" nogil:
    cdef union epoll_data:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data data
    enum: EPOLLIN
    enum: EPOLL_CLOEXEC
    enum: EPOLL_CTL_ADD
    int epoll_create1(int flags)
    int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll_fd, epoll_event* events, int capacity, int timeout_ms)

cdef enum:
    WAIT_BATCH = 64


cdef int socket_set(const Sockets* sockets, void* socket, int option, int value) noexcept nogil:
    return errno if sockets.zmq.setsockopt(socket, option, &value, sizeof(value)) != 0 else 0


cdef int socket_watch(Sockets* sockets, int index) noexcept nogil:
    cdef epoll_event event
    cdef int fd = -1
    cdef size_t fd_bytes = sizeof(fd)
    if sockets.zmq.getsockopt(sockets.sockets[index], ZMQ_FD, &fd, &fd_bytes) != 0:
        return errno
    event.events = EPOLLIN
    event.data.u64 = <uint64_t>index
    return errno if epoll_ctl(sockets.epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 else 0


# No high-water marks: the window bounds what is under way, and neither end may be what blocks.
cdef int socket_open(Sockets* sockets, int kind) noexcept nogil:
    cdef void* opened = sockets.zmq.socket(sockets.context, kind)
    cdef int code
    if opened == NULL:
        return errno
    sockets.sockets[sockets.count] = opened
    sockets.count += 1
    code = socket_set(sockets, opened, ZMQ_LINGER, 0)
    code = code or socket_set(sockets, opened, ZMQ_SNDHWM, 0)
    code = code or socket_set(sockets, opened, ZMQ_RCVHWM, 0)
    return code or socket_set(sockets, opened, ZMQ_RCVTIMEO, sockets.timeout_ms)


cdef int sockets_open(Sockets* sockets, const LibZmq* zmq, int kind, int count, int timeout_ms) noexcept nogil:
    cdef int code = 0
    memset(sockets, 0, sizeof(Sockets))
    sockets.zmq = zmq
    sockets.timeout_ms = timeout_ms
    sockets.receive_flags = 0 if count == 1 else ZMQ_DONTWAIT
    sockets.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    sockets.context = zmq.ctx_new()
    if sockets.epoll_fd < 0 or sockets.context == NULL:
        return errno
    sockets.sockets = <void**>calloc(count, sizeof(void*))
    sockets.ready = <int*>calloc(count, sizeof(int))
    if sockets.sockets == NULL or sockets.ready == NULL:
        return ENOMEM
    while sockets.count < count and code == 0:
        code = socket_open(sockets, kind)
        code = code or socket_watch(sockets, sockets.count - 1)
    return code


cdef void sockets_close(Sockets* sockets) noexcept nogil:
    cdef int index
    if sockets.zmq == NULL:
        return
    for index in range(sockets.count):
        sockets.zmq.close(sockets.sockets[index])
    if sockets.context != NULL:
        sockets.zmq.ctx_term(sockets.context)
    if sockets.epoll_fd >= 0:
        close(sockets.epoll_fd)
    free(sockets.sockets)
    free(sockets.ready)
    memset(sockets, 0, sizeof(Sockets))


# It speaks CURVE with these keys from its next connect on. 0 or an errno.
cdef int socket_encrypt(const Sockets* sockets, void* socket, const uint8_t* keys) noexcept nogil:
    cdef int[3] options = [ZMQ_CURVE_PUBLICKEY, ZMQ_CURVE_SECRETKEY, ZMQ_CURVE_SERVERKEY]
    cdef int index
    for index in range(3):
        if sockets.zmq.setsockopt(socket, options[index], keys + index * CURVE_KEY_BYTES, CURVE_KEY_BYTES) != 0:
            return errno
    return 0


cdef int sockets_connect(
    Sockets* sockets, const char* endpoint, bint is_managed, const uint8_t* keys
) noexcept nogil:
    cdef const LibZmq* zmq = sockets.zmq
    cdef int index
    cdef int code
    for index in range(sockets.count):
        code = socket_set(sockets, sockets.sockets[index], ZMQ_IPV6, strchr(endpoint, b"[") != NULL)
        if code == 0 and keys != NULL:
            code = socket_encrypt(sockets, sockets.sockets[index], keys)
        if code:
            return code
        if is_managed and zmq.setsockopt(sockets.sockets[index], ZMQ_METADATA, b"X-zproxy:1", 10) != 0:
            return errno
        if zmq.connect(sockets.sockets[index], endpoint) != 0:
            return errno
    return 0


cdef int sockets_wait(Sockets* sockets) noexcept nogil:
    cdef epoll_event[WAIT_BATCH] events
    cdef int count
    cdef int index
    if sockets.count == 1:
        sockets.ready[0] = 0
        return 1
    count = epoll_wait(sockets.epoll_fd, events, min(sockets.count, <int>WAIT_BATCH), sockets.timeout_ms)
    for index in range(count):
        sockets.ready[index] = <int>events[index].data.u64
    return max(count, 0)
