"""Broker: what becomes of a managed message. (event, now) → verdict; it has no socket, no clock and no bytes but names.

Called by the fast path only, one event a call. Peers are numbers (the slots of their connections), payloads stay with
the caller, who keeps one for each request the broker tells him to keep.

    broker_join ─► verdict: say WELCOME
    broker_message(peer, envelope …) ─► one verdict about the message in hand; the envelope is rewritten for its way
    broker_leave(peer)                  its end; what follows from it comes out of broker_step
    broker_step ─► the next thing to do of itself, until there is none: errors of lost and expired requests, CANCELs,
                   kept requests that somebody can take now, those of lost workers first of all

Rule 1. Whatever is accepted ends in exactly one of: delivered, failed, expired, cancelled, undelivered.
Rule 2. A message is addressed to a live peer in its present conversation, or to nobody.
Rule 3. In steady state nothing is allocated: tables grow by doubling and keep their size.

What a verdict may be: verdict.pxd. What the broker is made of: state.pxd. Both are cimported here, so that the caller
needs this file alone.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy.broker.service cimport Account
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport (
    CONTENT_ACCEPTED, CONTENT_NONE, CONTENT_WELCOME, PAYLOAD_NONE, PEER_NONE, ROLE_NODE, ROLE_WORKER, VERDICT_DROP,
    VERDICT_KEEP, VERDICT_PASS, VERDICT_SAY, VERDICT_SEND, Content, Limits, Role, Verdict, VerdictKind
)
from zproxy.counters cimport Counters
from zproxy.envelope cimport EnvelopeView

# Empty, from zeroed. `limits.policies` is read, and not kept.
# `seed`: of the names' hashes and of conversation numbers. 0, or -1: no memory.
cdef int broker_open(Broker* broker, const Limits* limits, Counters* counters, uint64_t seed) noexcept nogil
cdef void broker_close(Broker* broker) noexcept nogil

# The rules from now on, as permits_pack makes them (access.pxd), between two events. Peers keep their rows' numbers,
# and what was accepted stays so. 0, or -1: malformed, or no memory, and the old ones stay.
cdef int broker_set_permits(Broker* broker, const uint8_t* packed, size_t count) noexcept nogil

# A managed connection stands: `envelope` is the WELCOME to say. DROP: no memory, and the caller closes the peer.
# `ticket`, not 0, is the caller's name for what it charges to the connection, which a later one may inherit.
# `permit` is the peer's row of the rules, 0: everything is allowed; `name`, at most 64 bytes, who it is, as its key
# says; none: it names itself.
cdef void broker_join(
    Broker* broker, uint32_t peer, Role role, uint64_t ticket, uint32_t permit, const uint8_t* name,
    uint8_t name_bytes, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# A message of a joined peer, read without a fault. `content` is frame 1 (NULL: none, or beyond what lies in one piece),
# `message_bytes` the whole message's size on the wire. `envelope` is rewritten to what PASS and SAY send.
cdef void broker_message(
    Broker* broker, uint32_t peer, EnvelopeView* envelope, const uint8_t* content, size_t content_bytes,
    uint64_t message_bytes, int64_t now_ms, Verdict* verdict
) noexcept nogil

# A message that is none: `fault_words` says why. `envelope`: what could be read of it; becomes the ERROR.
cdef void broker_malformed(
    Broker* broker, uint32_t peer, const char* fault_words, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# The peer at which a PASS is aimed takes no more now. A stream's message is dropped, and the stream cut off; else it is
# a node, its outcome counts as undelivered, and an ERROR goes instead,
# small enough to be queued anyhow: RESEND, or OUTCOME_UNKNOWN where it may not run twice.
cdef void broker_undelivered(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# There was no memory for what the last verdict said to KEEP: the request ends in BUSY. / For the copy of what it said
# to PASS, or to KEEP without a charge: its node is asked for it, or told so, should it be needed.
cdef void broker_unkept(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil
cdef void broker_unretained(Broker* broker) noexcept nogil

# A message of which no byte went to a worker that is gone: right before broker_leave, `envelope` as it was written.
# KEEP: it has to be kept for another worker.
cdef void broker_unsent(Broker* broker, uint32_t peer, const EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# It is gone. Its slot may be joined again at once.
cdef void broker_leave(Broker* broker, uint32_t peer, int64_t now_ms) noexcept nogil

# A worker's outbox is full / has room again, or it is suspected / lives.
cdef void broker_set_usable(Broker* broker, uint32_t peer, bint is_usable) noexcept nogil

# The next thing to do of itself: SAY, SEND, DROP with a `spent` payload. False: nothing until another event or
# broker_due_ms.
cdef bint broker_step(Broker* broker, int64_t now_ms, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# SEND: `envelope` is the payload's own, read again; it becomes the receiver's. Right after the verdict, and once.
cdef void broker_address(Broker* broker, EnvelopeView* envelope) noexcept nogil

# When broker_step has something to do although nothing happens; INT64_MAX: never; 0: at once.
cdef int64_t broker_due_ms(const Broker* broker) noexcept nogil

# The worker of that name, if it is there, takes no more in this conversation and is told GOODBYE (through broker_step).
cdef void broker_dismiss(Broker* broker, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# From now on new requests are refused with DRAINING, and GOODBYE is said (through broker_step): to nodes at once, to
# workers after the last request that waits for one was taken.
cdef void broker_drain(Broker* broker) noexcept nogil

# The time is over: what is live ends in DRAINING (through broker_step).
cdef void broker_abort(Broker* broker) noexcept nogil

# Requests without an outcome yet; of them waiting for a worker, and their bytes.
cdef uint64_t broker_live(const Broker* broker) noexcept nogil
cdef uint64_t broker_waiting(const Broker* broker) noexcept nogil
cdef uint64_t broker_waiting_bytes(const Broker* broker) noexcept nogil

# Bytes of requests that workers have, kept for another delivery.
cdef uint64_t broker_retained_bytes(const Broker* broker) noexcept nogil


# ---- what it knows, for `zproxy status` ----

cdef struct ServiceRow:         # without a name: all that are forgotten
    uint8_t[64] name
    uint8_t name_bytes
    bint was_offered            # by a worker, ever
    uint32_t policy             # its number
    uint32_t workers
    uint64_t waiting
    uint64_t waiting_bytes
    int64_t oldest_ms           # when the first of them came (monotonic); 0: none waits
    Account account             # what became of the requests for it

cdef struct PeerRow:
    uint32_t peer
    Role role
    bint is_known               # said HELLO or READY, and was accepted
    bint is_leaving             # said GOODBYE, or was told to
    bint is_usable
    bint is_resting
    uint8_t[64] name
    uint8_t name_bytes
    uint64_t incarnation
    uint32_t credit             # of a worker
    uint32_t in_flight          # requests with a worker / open requests of a node
    int64_t oldest_ms           # of a worker: when it was given the first of them (monotonic); 0: it has none
    uint64_t settled            # requests that came to an end with it
    bint has_step
    bint has_progress
    uint64_t step               # of a node, the last it told
    float progress
    int64_t told_ms             # when (monotonic)
    int64_t heard_ms            # its last byte (monotonic); this and what follows is the caller's to fill
    uint64_t waiting_bytes      # of its requests
    uint64_t unread_bytes       # that it has not taken yet
    char[64] address            # as text, NUL at the end

cdef struct OfferRow:           # one for each pair
    uint32_t peer               # the worker's
    uint8_t[64] service
    uint8_t service_bytes

# How many rows there are, and the rows into tables of at least that size.
cdef void broker_count_rows(
    const Broker* broker, uint32_t* services, uint32_t* peers, uint32_t* offers
) noexcept nogil
cdef void broker_fill_rows(
    const Broker* broker, ServiceRow* services, PeerRow* peers, OfferRow* offers
) noexcept nogil
