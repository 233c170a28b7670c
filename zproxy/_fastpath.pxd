"""Fast path: a whole message's way from one side to the other. The only file that sees both the relay's bytes and
the broker's picks.

    request_pass ─► balance.pick ─► delivery ─► worker's outbox
        └► backlog, when nobody can take it ─► backlog_dispatch ─► the same
    reply_pass ─► names.find ─► delivery ─► client's outbox
        └► a counter that says why not

    managed_pass ─► envelope ─► the broker's verdict ─► delivery ─► whose outbox it says
                                    └► payload, kept ─► broker_steps ─► the same

Called by the turn (_reading.pyx, _engine.pyx), one message or event a call. Writes nothing itself: outboxes are
flushed at the end of the turn, but for a worker's that is full.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy.broker.balance cimport Balance
from zproxy.broker.broker cimport Broker, Limits
from zproxy.broker.report cimport Report
from zproxy.broker.ring cimport RING_IDS
from zproxy.relay.backlog cimport Backlog
from zproxy.relay.block cimport Message
from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub
from zproxy.relay.payload cimport Payloads

cdef enum:
    WORKER_BUSY_BYTES = 262144  # a worker with so much unwritten gets nothing more for now
    WORDS_BYTES = 1048576       # of the broker's own words a peer may have so much beyond its outbox's budget
    DEDUP_IDS = RING_IDS        # of a node, that are remembered at most
    FRAMES_MAX = 16384          # of a managed message: a receiver's libzmq takes 64 bytes for each, however empty

cdef struct Notice:              # frame 1 of what the broker says, ready for the wire; borrowed from the Relay object
    const uint8_t* bytes
    size_t count

cdef struct Fastpath:           # owned by the engine; see fastpath_open
    Hub* hub                    # the engine's
    Balance balance             # which plain worker is next
    Backlog backlog             # plain requests nobody could take yet
    Broker broker               # what becomes of managed messages
    Payloads payloads           # of managed requests that wait, or may have to be delivered again
    Limits limits               # the broker's
    Notice welcome
    Notice accepted

# Empty, from zeroed but for the limits and the two notices. 0, or -1: no memory.
cdef int fastpath_open(Fastpath* path, Hub* hub) noexcept nogil

# A whole request, contiguous in the read buffer / in blocks of its own (empty afterwards).
cdef void request_pass(Fastpath* path, Connection* client, const uint8_t* bytes, size_t count) noexcept nogil
cdef void request_pass_large(Fastpath* path, Connection* client, Message* message) noexcept nogil

# A whole reply of a worker's, likewise.
cdef void reply_pass(Fastpath* path, const Connection* worker, const uint8_t* bytes, size_t count) noexcept nogil
cdef void reply_pass_large(Fastpath* path, const Connection* worker, Message* message) noexcept nogil

# A whole message of a managed peer, contiguous in the read buffer / in blocks of its own (empty afterwards).
cdef void managed_pass(Fastpath* path, Connection* peer, const uint8_t* bytes, size_t count) noexcept nogil
cdef void managed_pass_large(Fastpath* path, Connection* peer, Message* message, uint32_t frames) noexcept nogil

# Everything the broker wants of itself now: what waited goes out, what is over is told.
cdef void broker_steps(Fastpath* path) noexcept nogil

# What waits goes out while somebody can take it.
cdef void backlog_dispatch(Fastpath* path) noexcept nogil

# Its handshake is finished: messages may pass. A worker for whom there is no memory is doomed.
cdef void peer_join(Fastpath* path, Connection* peer) noexcept nogil

# TIMER_RATE is due: may the client send on?
cdef void client_resume(Fastpath* path, Connection* client) noexcept nogil

# A worker's outbox was written, or it was silent and lives: it may take messages again.
cdef void worker_freed(Fastpath* path, Connection* worker) noexcept nogil

# A managed worker is silent: it gets nothing new until it is heard.
cdef void worker_suspected(Fastpath* path, Connection* worker) noexcept nogil

# Who may do what, from now on, as permits_pack makes it. 0, or -1: malformed, or no memory; the old rules stay.
cdef int permits_set(Fastpath* path, const uint8_t* packed, size_t count) noexcept nogil

# The managed worker of that name, if there is one, is given nothing more, and told so at the next broker_steps.
cdef void worker_dismiss(Fastpath* path, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# It takes no more: what was not written goes to the front of the backlog; a managed one's is the broker's to answer
# for. Returns the requests lost half-written.
cdef uint64_t worker_recover(Fastpath* path, Connection* worker) noexcept nogil

# It is gone: replies that did not leave whole are lost, requests that wait are kept. Returns how many are lost.
cdef uint64_t client_forfeit(Fastpath* path, Connection* client) noexcept nogil

# Who is there and what waits, as it is now; NULL: no memory.
cdef Report* fastpath_report(Fastpath* path) noexcept nogil

# Of managed requests: how many are live, wait, and in bytes; when one is due.
cdef uint64_t managed_live(const Fastpath* path) noexcept nogil
cdef uint64_t managed_waiting(const Fastpath* path) noexcept nogil
cdef uint64_t managed_waiting_bytes(const Fastpath* path) noexcept nogil
cdef int64_t managed_due_ms(const Fastpath* path) noexcept nogil

# Nothing new is taken / what is live is given up, and told so at the next broker_steps.
cdef void managed_drain(Fastpath* path) noexcept nogil
cdef void managed_abort(Fastpath* path) noexcept nogil

# The end of the relay: what still waits is given up and counted.
cdef void fastpath_close(Fastpath* path) noexcept nogil
