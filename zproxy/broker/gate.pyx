"""Gate: what the rules do not allow is refused; see gate.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from zproxy.broker.access cimport (
    LIMIT_IN_FLIGHT, LIMIT_MESSAGES, LIMIT_NONE, LIMIT_SIZE, PARTS, PERMIT_ALL, Bucket, Limit, PermitRow,
    bucket_wait_ms, permit_exceeded, permits_allow, permits_match, permits_serve
)
from zproxy.broker.sentence cimport sentence_begin, sentence_name, sentence_number, sentence_words
from zproxy.broker.service cimport service_withdraw
from zproxy.broker.speech cimport say_error, say_refusal
from zproxy.broker.verdict cimport ROLE_NODE
from zproxy.counters cimport (
    MANAGED_REFUSED_DENIED, MANAGED_REFUSED_IN_FLIGHT, MANAGED_REFUSED_RATE, MANAGED_REFUSED_TOO_LARGE, counter_add
)
from zproxy.envelope cimport BUSY, DENIED, REMAINING_MS_MAX, TOO_LARGE, Offer, offer_next


# ---- who ----


cdef inline const char* role_word(const Peer* peer) noexcept nogil:
    return b"node " if peer.role == ROLE_NODE else b"worker "


cdef inline void sentence_denied(Broker* broker) noexcept nogil:
    sentence_begin(&broker.sentence, b"\xe6\x97\xa0\xe6\x9d\x83\xe8\xae\xbf\xe9\x97\xae")     # 无权访问, in UTF-8
    sentence_words(&broker.sentence, b": access denied: ")


# HELLO or READY is.
cdef void say_denied(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    counter_add(broker.counters, MANAGED_REFUSED_DENIED, 1)
    say_error(broker, peer, DENIED, 0, 0, envelope, verdict)


cdef bint gate_denies_name(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    if not peer.is_bound:
        return False
    if peer.name_bytes == envelope.head.name_bytes and memcmp(peer.name, envelope.name, peer.name_bytes) == 0:
        return False
    sentence_denied(broker)
    sentence_words(&broker.sentence, b"the key belongs to ")
    sentence_words(&broker.sentence, role_word(peer))
    sentence_name(&broker.sentence, peer.name, peer.name_bytes)
    sentence_words(&broker.sentence, b", not to ")
    sentence_name(&broker.sentence, envelope.name, envelope.head.name_bytes)
    sentence_words(&broker.sentence, b": give it the name of its key, or ask the operator for a key of its own")
    say_denied(broker, peer, envelope, verdict)
    return True


# ---- what may be used, and served ----


cdef bint gate_denies(
    Broker* broker, Peer* node, Service* service, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef const uint8_t* name = envelope.service
    cdef uint8_t name_bytes = envelope.head.service_bytes
    if node.permit == PERMIT_ALL:
        return False
    if service != NULL and permits_allow(&broker.permits, node.permit, &service.seen, name, name_bytes):
        return False
    if service == NULL and permits_match(&broker.permits, node.permit, name, name_bytes):
        return False
    sentence_denied(broker)
    sentence_words(&broker.sentence, b"node ")
    sentence_name(&broker.sentence, node.name, node.name_bytes)
    sentence_words(&broker.sentence, b" may not use service ")
    sentence_name(&broker.sentence, name, name_bytes)
    sentence_words(&broker.sentence, b": ask the operator to allow it")
    say_refusal(broker, node, DENIED, MANAGED_REFUSED_DENIED, envelope, verdict)
    return True


cdef bint gate_denies_offers(
    Broker* broker, Peer* worker, const uint8_t* content, size_t content_bytes, EnvelopeView* envelope,
    Verdict* verdict
) noexcept nogil:
    cdef Offer offer
    cdef size_t offset = 0
    if worker.permit == PERMIT_ALL or content == NULL:
        return False
    while offer_next(content, content_bytes, &offset, &offer) == 1:
        if permits_serve(&broker.permits, worker.permit, offer.service, offer.service_bytes):
            continue
        sentence_denied(broker)
        sentence_words(&broker.sentence, b"worker ")
        sentence_name(&broker.sentence, envelope.name, envelope.head.name_bytes)
        sentence_words(&broker.sentence, b" may not serve ")
        sentence_name(&broker.sentence, offer.service, offer.service_bytes)
        sentence_words(&broker.sentence, b": ask the operator to allow it, or start it without")
        say_denied(broker, worker, envelope, verdict)
        return True
    return False


# From the last one on: it is what takes the place of one that goes.
cdef bint gate_withdraw(Broker* broker, Peer* worker) noexcept nogil:
    cdef uint32_t place = worker.offering_count
    cdef const Service* service
    cdef bint has_changed = False
    while place:
        place -= 1
        service = broker.services.table[worker.offerings[place].service]
        if not permits_serve(&broker.permits, worker.permit, service.name, service.name_bytes):
            service_withdraw(&broker.services, worker, place)
            has_changed = True
    return has_changed


# ---- how much ----


cdef void sentence_node(Broker* broker, const Peer* node, const char* words) noexcept nogil:
    sentence_begin(&broker.sentence, b"node ")
    sentence_name(&broker.sentence, node.name, node.name_bytes)
    sentence_words(&broker.sentence, words)


cdef void gate_size_fault(Broker* broker, const Peer* node, uint64_t message_bytes) noexcept nogil:
    sentence_node(broker, node, b" may send messages of ")
    sentence_number(&broker.sentence, gate_row(broker, node).message_bytes)
    sentence_words(&broker.sentence, b" bytes, and this one has ")
    sentence_number(&broker.sentence, message_bytes)
    sentence_words(&broker.sentence, b": send less at once, or ask the operator for more")


# One in so many milliseconds, where that says more than how many a second.
cdef void rate_fault(Broker* broker, const Peer* node, const Bucket* bucket, const char* of_what) noexcept nogil:
    cdef bint is_slow = bucket.rate < <uint64_t>(PARTS // 1000)
    sentence_node(broker, node, b" may send ")
    sentence_number(&broker.sentence, 1 if is_slow else bucket.rate // (PARTS // 1000))
    sentence_words(&broker.sentence, of_what)
    sentence_words(&broker.sentence, b" in ")
    sentence_number(&broker.sentence, PARTS // bucket.rate if is_slow else 1000)
    sentence_words(&broker.sentence, b" ms, and has: try again later, or ask the operator for more")


# BUSY, until then.
cdef void say_wait(
    Broker* broker, Peer* node, int counter, int64_t wait_ms, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    say_refusal(broker, node, BUSY, counter, envelope, verdict)
    envelope.head.remaining_ms = <uint32_t>min(wait_ms, <int64_t>REMAINING_MS_MAX)


cdef bint gate_limits(
    Broker* broker, Peer* node, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil:
    cdef PermitRow* row = gate_row(broker, node)
    cdef Limit limit
    if row == NULL:
        return False
    limit = permit_exceeded(row, node.requests.count, message_bytes, broker.now_ms)
    if limit == LIMIT_NONE:
        return False
    if limit == LIMIT_SIZE:
        gate_size_fault(broker, node, message_bytes)
        say_refusal(broker, node, TOO_LARGE, MANAGED_REFUSED_TOO_LARGE, envelope, verdict)
    elif limit == LIMIT_IN_FLIGHT:
        sentence_node(broker, node, b" may have ")
        sentence_number(&broker.sentence, row.in_flight)
        sentence_words(&broker.sentence, b" requests open, and has: try again later, or ask the operator for more")
        say_wait(broker, node, MANAGED_REFUSED_IN_FLIGHT, broker.limits.retry_after_ms, envelope, verdict)
    elif limit == LIMIT_MESSAGES:
        rate_fault(broker, node, &row.messages, b" messages")
        say_wait(broker, node, MANAGED_REFUSED_RATE, bucket_wait_ms(&row.messages, 1), envelope, verdict)
    else:
        rate_fault(broker, node, &row.bytes, b" bytes")
        say_wait(
            broker, node, MANAGED_REFUSED_RATE, bucket_wait_ms(&row.bytes, message_bytes), envelope, verdict
        )
    return True
