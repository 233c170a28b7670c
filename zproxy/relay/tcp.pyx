"""TCP: the options of our connections, and their acknowledgements; see tcp.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "<sys/socket.h>" nogil:
    enum: SOL_SOCKET
    enum: SO_KEEPALIVE
    ctypedef unsigned int socklen_t
    int getsockopt(int fd, int level, int option, void* value, socklen_t* count)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t count)

cdef extern from "<netinet/in.h>" nogil:
    enum: IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    enum: TCP_INFO
    enum: TCP_NODELAY
    enum: TCP_KEEPIDLE
    enum: TCP_KEEPINTVL
    enum: TCP_KEEPCNT
    cdef struct tcp_info:
        uint8_t tcpi_probes             # of a shut window, sent since the last answer
        uint32_t tcpi_unacked           # segments
        uint32_t tcpi_last_ack_recv     # ms ago

cdef enum:
    KEEPALIVE_IDLE_S = 60
    KEEPALIVE_EVERY_S = 10
    KEEPALIVE_PROBES = 3
    PROBES_UNANSWERED = 2               # one may just be on its way


cdef void option_set(int fd, int level, int option, int value) noexcept nogil:
    setsockopt(fd, level, option, &value, sizeof(int))


cdef void tcp_tune(int fd) noexcept nogil:
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1)
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES)


cdef bint tcp_is_dead(int fd, bint* is_settled) noexcept nogil:
    cdef tcp_info report
    cdef socklen_t count = sizeof(tcp_info)
    is_settled[0] = True
    if getsockopt(fd, IPPROTO_TCP, TCP_INFO, &report, &count) != 0:
        return False
    is_settled[0] = report.tcpi_unacked == 0 and report.tcpi_probes == 0
    if report.tcpi_unacked == 0 and report.tcpi_probes < PROBES_UNANSWERED:
        return False
    return report.tcpi_last_ack_recv >= <uint32_t>UNACKNOWLEDGED_MS
