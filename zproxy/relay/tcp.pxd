"""TCP: the options of our connections, and whether the other end still acknowledges what we send.

TCP_USER_TIMEOUT is not set: Linux takes it also for a peer that lives, but has kept its window shut for so long
(tcp_probe_timer: the clock runs although every probe is answered), and would cut off a worker that is busy for a
minute with its queue full. TCP_INFO tells the two apart; the relay asks it from a timer.
"""

cdef enum:
    UNACKNOWLEDGED_MS = 30000   # sent bytes or probes nobody acknowledged for so long mean a dead end
    ACKNOWLEDGE_CHECK_MS = 10000

# No delay for small messages, probes on an idle connection (60 s, then 3 every 10 s). Buffer sizes are left alone:
# setting them would stop the system's autotuning.
cdef void tcp_tune(int fd) noexcept nogil

# Is something sent and not acknowledged for UNACKNOWLEDGED_MS, data or probes of a shut window? False for a Unix
# socket, whose peer cannot vanish. `*is_settled`: all that was sent is acknowledged, there is nothing to wait for.
cdef bint tcp_is_dead(int fd, bint* is_settled) noexcept nogil
