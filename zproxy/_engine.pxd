"""The turn: wait, read, ask, queue, flush; then bury what ended, tick what is due, serve a snapshot.

    poller.wait ─► connection_event ─► read_all ─► inbox.next ─► fast path
                                          └► peering (greeting, READY, PING)
    ─► backlog_dispatch ─► flush_all ─► bury_all ─► tick ─► commands, snapshot ─► sleep until the next event or deadline

One thread, no lock, no GIL, no Python object. Between two events nothing is half done, so a snapshot taken there
balances.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy._fastpath cimport Fastpath
from zproxy.relay.endpoint cimport Connector, Listener
from zproxy.relay.hub cimport Hub

cdef enum:
    READ_TURN_BYTES = 262144    # most that one connection is read in a turn; then the others have theirs
    TRIM_EVERY_MS = 1000        # idle blocks go back to the system, half of them at a time
    LINGER_MS = 1000            # how long the end of written connections is awaited at a stop
    SPIN_STREAK = 16            # single messages in quick succession before --spin auto begins to spin
    SPIN_MESSAGES = 2           # a turn with more is a batch: the next one comes without hurry

cdef enum Phase:
    PHASE_RUNNING
    PHASE_DRAINING              # clients are read no more; what was accepted is written
    PHASE_LINGERING             # all is written; the peers' ends are awaited
    PHASE_ENDED

cdef struct Engine:             # owned by the Relay object; while the thread runs, touched by it alone
    Hub hub
    Fastpath path
    Listener* listeners
    Connector* connectors
    int listener_count
    int connector_count
    uint8_t* read_buffer
    Phase phase
    int64_t phase_due_ms        # the drain's or the linger's end
    int64_t trim_due_ms         # 0 = nothing to trim
    int level                   # intake_level at the last look
    int64_t turn_ended_ns       # for spinning
    uint32_t turn_messages
    uint32_t spin_streak
    uint64_t leaked             # blocks, slices and connections left at the end: a bug

# Opens what the engine needs; `settings` are in the hub already. 0, or an errno.
cdef int engine_open(Engine* engine) noexcept nogil

# Turns until it is told to stop and has stopped. The body of the relay thread.
cdef void engine_run(Engine* engine) noexcept nogil

# Frees everything. Caller: the thread at its end, or whoever never started it.
cdef void engine_close(Engine* engine) noexcept nogil

# Counters, then gauges, as they are now.
cdef void engine_measure(const Engine* engine, uint64_t* values) noexcept nogil
