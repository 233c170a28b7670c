"""Poller: the seam to epoll(7); see poller.pxd for the contract."""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from posix.unistd cimport close, read, write

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLL_CLOEXEC
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_DEL
    int epoll_create1(int flags)
    int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll_fd, epoll_event* events, int capacity, int timeout_ms)

cdef extern from "<sys/eventfd.h>" nogil:
    enum: EFD_CLOEXEC
    enum: EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)

cdef enum:
    WAIT_MAX_MS = 3600000       # epoll_wait takes an int


cdef int poller_open(Poller* poller) noexcept nogil:
    cdef int code
    poller.wake_fd = -1
    poller.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    if poller.epoll_fd < 0:
        return errno
    poller.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    code = errno if poller.wake_fd < 0 else poller_add(poller, poller.wake_fd, POLL_WAKE, True)
    if code:
        poller_close(poller)
    return code


cdef void poller_close(Poller* poller) noexcept nogil:
    if poller.epoll_fd >= 0:
        close(poller.epoll_fd)
    if poller.wake_fd >= 0:
        close(poller.wake_fd)
    poller.epoll_fd = poller.wake_fd = -1


cdef int poller_add(Poller* poller, int fd, uint64_t tag, bint is_listener) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN if is_listener else <unsigned int>(EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
    event.data.u64 = tag
    return errno if epoll_ctl(poller.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 else 0


cdef void poller_remove(Poller* poller, int fd) noexcept nogil:
    cdef epoll_event event
    epoll_ctl(poller.epoll_fd, EPOLL_CTL_DEL, fd, &event)


cdef int poller_wait(Poller* poller, int64_t timeout_ms) noexcept nogil:
    cdef int count = epoll_wait(poller.epoll_fd, poller.events, POLL_BATCH, <int>min(timeout_ms, WAIT_MAX_MS))
    return max(count, 0)


cdef void poller_wake(const Poller* poller) noexcept nogil:
    cdef uint64_t one = 1
    write(poller.wake_fd, &one, sizeof(one))


cdef void poller_wake_clear(const Poller* poller) noexcept nogil:
    cdef uint64_t count
    read(poller.wake_fd, &count, sizeof(count))
