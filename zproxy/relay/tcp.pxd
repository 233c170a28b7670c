"""TCP: the options of our connections, and whether the other end still acknowledges what we send.

TCP_USER_TIMEOUT is not set: Linux takes it also for a peer that lives, but has kept its window shut for so long
(tcp_probe_timer: the clock runs although every probe is answered), and would cut off a worker that is busy for a
minute with its queue full. TCP_INFO tells the two apart; the relay asks it from a timer. Its time of the last
acknowledgement alone is not enough: after a minute of silence it is a minute old when the next byte is sent.
"""

from libc.stdint cimport int64_t

cdef enum:
    UNACKNOWLEDGED_MS = 30000   # awaiting an acknowledgement for so long, in vain, means a dead end
    ACKNOWLEDGE_CHECK_MS = 10000

cdef enum Acknowledgement:
    TCP_SETTLED                 # all that was sent is acknowledged; also a Unix socket, whose peer cannot vanish
    TCP_AWAITS
    TCP_DEAD

# No delay for small messages; probes on an idle connection (60 s, then 3 every 10 s); no retransmission or probe of a
# shut window later than 10 s after the last one, where the system can (Linux 6.15), so that a dead end shows sooner.
# Buffer sizes are left alone: setting them would stop the system's autotuning.
cdef void tcp_tune(int fd) noexcept nogil

# The user of the process at the other end of a Unix socket (SO_PEERCRED, unix(7)); -1: it is none.
cdef int64_t socket_uid(int fd) noexcept nogil

# Does the other end acknowledge, be it data or probes of a shut window? Called every ACKNOWLEDGE_CHECK_MS or so;
# `*since_ms` is the caller's memory of the last look: since when it waits, 0 at first.
cdef Acknowledgement tcp_judge(int fd, int64_t now_ms, int64_t* since_ms) noexcept nogil
