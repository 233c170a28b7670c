"""TCP: the options of our connections, and their acknowledgements; see tcp.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "<sys/socket.h>" nogil:
    enum: SOL_SOCKET
    enum: SO_KEEPALIVE
    enum: SO_DOMAIN
    enum: SO_PEERCRED
    enum: AF_UNIX
    ctypedef unsigned int socklen_t
    int getsockopt(int fd, int level, int option, void* value, socklen_t* count)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t count)

# struct ucred of unix(7), which <sys/socket.h> has for _GNU_SOURCE alone.
cdef struct Credentials:
    int pid
    uint32_t uid
    uint32_t gid

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
    TCP_RTO_MAX_MS = 44                 # of <linux/tcp.h>, younger than many a libc's headers
    RETRANSMIT_MAX_MS = 10000


cdef void option_set(int fd, int level, int option, int value) noexcept nogil:
    setsockopt(fd, level, option, &value, sizeof(int))


cdef int64_t socket_uid(int fd) noexcept nogil:
    cdef Credentials credentials
    cdef int domain = 0
    cdef socklen_t count = sizeof(int)
    if getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &count) != 0 or domain != AF_UNIX:
        return -1
    count = sizeof(Credentials)
    if getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &count) != 0:
        return -1
    return credentials.uid


cdef void tcp_tune(int fd) noexcept nogil:
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1)
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES)
    option_set(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, RETRANSMIT_MAX_MS)


cdef Acknowledgement tcp_judge(int fd, int64_t now_ms, int64_t* since_ms) noexcept nogil:
    cdef tcp_info report
    cdef socklen_t count = sizeof(tcp_info)
    if getsockopt(fd, IPPROTO_TCP, TCP_INFO, &report, &count) != 0 or (
        report.tcpi_unacked == 0 and report.tcpi_probes == 0
    ):
        since_ms[0] = 0
        return TCP_SETTLED
    if since_ms[0] == 0 or now_ms - report.tcpi_last_ack_recv > since_ms[0]:
        since_ms[0] = now_ms
        return TCP_AWAITS
    return TCP_DEAD if now_ms - since_ms[0] >= UNACKNOWLEDGED_MS else TCP_AWAITS
