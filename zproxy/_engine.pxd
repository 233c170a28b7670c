"""The turn: wait, read, queue, flush; then bury what ended, tick what is due, serve a snapshot.

    poller.wait ─► connection_event ─► read_all ─► backlog_dispatch ─► flush_all ─► bury_all ─► tick
    ─► commands, snapshot ─► sleep until the next event or deadline

One thread, no lock, no GIL, no Python object. Between two events nothing is half done, so a snapshot taken there
balances.
"""

from libc.stdint cimport int64_t, uint64_t

from zproxy._fastpath cimport Fastpath
from zproxy.relay.endpoint cimport Endpoints
from zproxy.relay.hub cimport Hub
from zproxy.relay.spin cimport Spin

cdef enum:
    TRIM_EVERY_MS = 1000        # idle blocks go back to the system, half of them at a time
    # For nodes to read their last replies: libzmq drops what is unread when a connection ends (ZMQ_IMMEDIATE). Idle
    # ones read nothing, so a stop takes that long with them.
    PARTING_MS = 500
    LINGER_MS = 1000            # how long the end of written connections is awaited at a stop

cdef enum Phase:
    PHASE_RUNNING
    PHASE_DRAINING              # clients are read no more; what was accepted is written
    PHASE_PARTING               # all is written; the nodes' GOODBYE is awaited, which says that they have read it
    PHASE_LINGERING             # nothing more is written; the peers' ends are awaited
    PHASE_ENDED

cdef struct Engine:             # owned by the Relay object; while the thread runs, touched by it alone
    Hub hub
    Fastpath path
    Endpoints endpoints
    Spin spin
    Phase phase
    int64_t phase_due_ms        # the drain's or the linger's end
    int64_t parting_due_ms      # the parting's, which is within the drain but for what it gave up
    int64_t trim_due_ms         # 0 = nothing to trim
    uint64_t leaked             # blocks, slices and connections left at the end: a bug

# Opens what the engine needs; the hub's settings and the spin are set already. 0, or an errno.
cdef int engine_open(Engine* engine) noexcept nogil

# Turns until it is told to stop and has stopped. The body of the relay thread.
cdef void engine_run(Engine* engine) noexcept nogil

# Frees everything. Caller: the thread at its end, or whoever never started it.
cdef void engine_close(Engine* engine) noexcept nogil

# Counters, then gauges, as they are now.
cdef void engine_measure(const Engine* engine, uint64_t* values) noexcept nogil
