"""Gate: what the rules (access.pxd) mean for a peer's messages: what they do not allow is refused, and in words.

    HELLO, READY   under another name than the key's: DENIED. A READY that offers what may not be served: DENIED, and
                   nothing of it is taken
    REQUEST, POST  to what may not be used: DENIED, whatever else would be said of it
                   larger than may be: TOO_LARGE; too many open, or too much for now: BUSY, with when to try again
    CHUNK          taken out of the bucket, which may go into debt; larger than may be: its request ends in TOO_LARGE
    all else       passes: whoever may not ask may still cancel, and answer
    plain messages cannot be refused one by one: they are taken out of the buckets, and their sender is not read on
                   while those are empty

Called by the rooms that take messages in, for new requests alone: what was accepted is asked for again, or told again,
whatever the rules have become. What is refused takes nothing out of a bucket.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy.broker.access cimport PermitRow, bucket_take, permit_spend, permit_wait_ms, permits_row
from zproxy.broker.peer cimport Peer
from zproxy.broker.service cimport Service
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Verdict
from zproxy.envelope cimport EnvelopeView

# Says that the request in hand is denied; or False: the node may use the service. NULL: nobody knows it yet, and who is
# denied does not make it known.
cdef bint gate_denies(
    Broker* broker, Peer* node, Service* service, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# Says that it is larger, or one more, than its node may send; or False: it is not.
cdef bint gate_limits(
    Broker* broker, Peer* node, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil

# Says that the name HELLO or READY has is not the peer's; or False: it is, or may be.
cdef bint gate_denies_name(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# Says that one of READY's services, which are well formed, may not be served by the worker; or False: all may.
cdef bint gate_denies_offers(
    Broker* broker, Peer* worker, const uint8_t* content, size_t content_bytes, EnvelopeView* envelope,
    Verdict* verdict
) noexcept nogil

# The worker offers no more what it may not serve. Has it offered something of the kind?
cdef bint gate_withdraw(Broker* broker, Peer* worker) noexcept nogil

# Why a message of so many bytes is too large, composed as the sentence.
cdef void gate_size_fault(Broker* broker, const Peer* node, uint64_t message_bytes) noexcept nogil


# The peer's row; NULL: it has no limits.
cdef inline PermitRow* gate_row(const Broker* broker, const Peer* peer) noexcept nogil:
    return permits_row(&broker.permits, peer.permit)


# The request was accepted.
cdef inline void gate_spend(Broker* broker, const Peer* node, uint64_t message_bytes) noexcept nogil:
    cdef PermitRow* row = gate_row(broker, node)
    if row != NULL:
        permit_spend(row, message_bytes)


# A CHUNK, whose bytes are taken out. False: it is larger than may be.
cdef inline bint gate_book(Broker* broker, const Peer* node, uint64_t message_bytes) noexcept nogil:
    cdef PermitRow* row = gate_row(broker, node)
    if row == NULL:
        return True
    bucket_take(&row.bytes, message_bytes)
    return row.message_bytes == 0 or message_bytes <= row.message_bytes


# ---- plain peers, known by the number of their row alone ----

# May one of that row send on now?
cdef inline bint gate_may_send(const Broker* broker, uint32_t permit, int64_t now_ms) noexcept nogil:
    cdef PermitRow* row = permits_row(&broker.permits, permit)
    return row == NULL or permit_wait_ms(row, now_ms) == 0


# The same after a message of so many bytes, which is taken out.
cdef inline bint gate_charge(
    const Broker* broker, uint32_t permit, uint64_t message_bytes, int64_t now_ms
) noexcept nogil:
    cdef PermitRow* row = permits_row(&broker.permits, permit)
    if row == NULL:
        return True
    permit_spend(row, message_bytes)
    return permit_wait_ms(row, now_ms) == 0


# How large one of its messages may be, `most` at most.
cdef inline uint64_t gate_message_max(const Broker* broker, uint32_t permit, uint64_t most) noexcept nogil:
    cdef const PermitRow* row = permits_row(&broker.permits, permit)
    return most if row == NULL or row.message_bytes == 0 else min(row.message_bytes, most)
