"""Poller: the seam to epoll(7), edge-triggered.

Every connection is registered once, for everything; no system call per change of interest. The price: an edge
comes once, so the turn remembers what may still be read (`may_read`) and written (`may_write`).
Linux only: kqueue or poll would be a second file behind these five functions.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    cdef union epoll_data:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data data
    cdef enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLLRDHUP
        EPOLLET

cdef enum:
    POLL_BATCH = 256

cdef struct Poller:             # owns both descriptors
    int epoll_fd
    int wake_fd                 # eventfd; its event carries POLL_WAKE
    epoll_event[POLL_BATCH] events

cdef enum:
    POLL_WAKE = 0               # tag of the eventfd; no other source may use it

# 0, or an errno.
cdef int poller_open(Poller* poller) noexcept nogil
cdef void poller_close(Poller* poller) noexcept nogil

# Watches `fd`; its events carry `tag`. `is_listener`: level-triggered, readable only. 0, or an errno.
# Closing the descriptor removes it.
cdef int poller_add(Poller* poller, int fd, uint64_t tag, bint is_listener) noexcept nogil
cdef void poller_remove(Poller* poller, int fd) noexcept nogil

# Waits (-1: for ever); returns how many `events` are filled, 0 on time-out or interruption.
cdef int poller_wait(Poller* poller, int64_t timeout_ms) noexcept nogil

# From any thread: makes poller_wait return.
cdef void poller_wake(const Poller* poller) noexcept nogil
cdef void poller_wake_clear(const Poller* poller) noexcept nogil
