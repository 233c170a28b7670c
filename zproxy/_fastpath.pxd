"""Fast path: a whole message's way from one side to the other. The only file that sees both the relay's bytes and
the broker's picks.

    request_pass ─► balance.pick ─► delivery ─► worker's outbox
        └► backlog, when nobody can take it ─► backlog_dispatch ─► the same
    reply_pass ─► names.find ─► delivery ─► client's outbox
        └► a counter that says why not

Called by the turn (_reading.pyx, _engine.pyx), one message or event a call. Writes nothing itself: outboxes are
flushed at the end of the turn, but for a worker's that is full.
"""

from libc.stdint cimport uint8_t, uint64_t

from zproxy.broker.balance cimport Balance
from zproxy.relay.backlog cimport Backlog
from zproxy.relay.block cimport Message
from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub

cdef enum:
    WORKER_BUSY_BYTES = 262144  # a worker with so much unwritten gets nothing more for now

cdef struct Fastpath:           # owned by the engine; see fastpath_open
    Hub* hub                    # the engine's
    Balance balance             # which worker is next
    Backlog backlog             # requests nobody could take yet

# Empty, from zeroed.
cdef void fastpath_open(Fastpath* path, Hub* hub) noexcept nogil

# A whole request, contiguous in the read buffer / in blocks of its own (empty afterwards).
cdef void request_pass(Fastpath* path, Connection* client, const uint8_t* bytes, size_t count) noexcept nogil
cdef void request_pass_large(Fastpath* path, Connection* client, Message* message) noexcept nogil

# A whole reply, likewise.
cdef void reply_pass(Fastpath* path, const uint8_t* bytes, size_t count) noexcept nogil
cdef void reply_pass_large(Fastpath* path, Message* message) noexcept nogil

# What waits goes out while somebody can take it.
cdef void backlog_dispatch(Fastpath* path) noexcept nogil

# Its handshake is finished: messages may pass. A worker for whom there is no memory is doomed.
cdef void peer_join(Fastpath* path, Connection* peer) noexcept nogil

# A worker's outbox was written: it may take messages again.
cdef void worker_flushed(Fastpath* path, Connection* worker) noexcept nogil

# It takes no more: what was not written goes to the front of the backlog. Returns the requests lost half-written.
cdef uint64_t worker_recover(Fastpath* path, Connection* worker) noexcept nogil

# It is gone: replies that did not leave whole are lost, requests that wait are kept. Returns how many are lost.
cdef uint64_t client_forfeit(Fastpath* path, Connection* client) noexcept nogil

# The end of the relay: what still waits is given up and counted.
cdef void fastpath_close(Fastpath* path) noexcept nogil
