"""Presence: who is there; see presence.pxd for the contract."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp

from zproxy.broker.dispatch cimport offers_changed, worker_changed, worker_freed
from zproxy.broker.former cimport formers_enter, formers_have_fenced, formers_succeed
from zproxy.broker.gate cimport gate_denies_name, gate_denies_offers, gate_withdraw
from zproxy.broker.ledger cimport (
    errand_drop, ledger_abandon, ledger_drop, ledger_end, ledger_free, ledger_settle, ledger_unlease, ledger_unlist,
    ledger_unwait
)
from zproxy.broker.peer cimport (
    ROW_ABLE, ROW_ABSENT, ROW_GOODBYE, ROW_REMEMBERED, Peer, peer_is_there, peer_judge, peer_move, peer_name,
    peer_named, peer_release, peer_unname, row_enter, row_leave
)
from zproxy.broker.recall cimport recall_discard
from zproxy.broker.request cimport (
    LINK_NODE, LINK_WORKER, REQUEST_ABANDONED, REQUEST_ENDING, REQUEST_LEASED, Request, request_is_nobodys
)
from zproxy.broker.rest cimport rest_consider, rest_fail, rest_leave, rest_settle
from zproxy.broker.retry cimport MISHAP_LOST, retry_refusal, retry_take
from zproxy.broker.sentence cimport sentence_begin, sentence_name, sentence_words
from zproxy.broker.service cimport Service, service_obtain, service_offer, services_withdraw
from zproxy.broker.speech cimport say, say_error, say_malformed
from zproxy.broker.verdict cimport CONTENT_ACCEPTED, CONTENT_NONE, REQUEST_NONE, ROLE_NODE, ROLE_WORKER, Role
from zproxy.counters cimport (
    MANAGED_CANCELLED, MANAGED_FAILED, MANAGED_REFUSED_BUSY, MANAGED_REFUSED_FENCED, MANAGED_REFUSED_NAME_IN_USE,
    MANAGED_REPLACED, MANAGED_RETURNED_NODES, MANAGED_WORKER_LOST, counter_add
)
from zproxy.envelope cimport (
    ACCEPTED, BUSY, FENCED, GOODBYE, NAME_IN_USE, OFFER_NOT_IDEMPOTENT, OFFERS_MAX, POST, EnvelopeView, Offer,
    offer_next
)


cdef enum:
    ABSENT_MAX = 16384          # some KiB each: beyond it, who went first is forgotten


# ---- names ----


cdef inline bint has_name(const Peer* peer, const EnvelopeView* envelope) noexcept nogil:
    return (
        peer.incarnation == envelope.head.incarnation and peer.name_bytes == envelope.head.name_bytes
        and memcmp(peer.name, envelope.name, peer.name_bytes) == 0
    )


cdef void say_name_in_use(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    counter_add(broker.counters, MANAGED_REFUSED_NAME_IN_USE, 1)
    sentence_begin(&broker.sentence, b"the name ")
    sentence_name(&broker.sentence, envelope.name, envelope.head.name_bytes)
    sentence_words(&broker.sentence, b" belongs to another living ")
    sentence_words(&broker.sentence, b"node" if peer.role == ROLE_NODE else b"worker")
    sentence_words(&broker.sentence, b"; choose another name, or end that one and try again")
    say_error(broker, peer, NAME_IN_USE, 0, 0, envelope, verdict)
    envelope.head.remaining_ms = broker.limits.retry_after_ms


cdef void say_fenced(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    counter_add(broker.counters, MANAGED_REFUSED_FENCED, 1)
    sentence_begin(&broker.sentence, b"the name ")
    sentence_name(&broker.sentence, envelope.name, envelope.head.name_bytes)
    sentence_words(&broker.sentence, b" went to a successor while this one was gone: end, or come back as a new one")
    say_error(broker, peer, FENCED, 0, 0, envelope, verdict)


cdef void say_no_room(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    counter_add(broker.counters, MANAGED_REFUSED_BUSY, 1)
    sentence_begin(&broker.sentence, b"zproxy has no memory for another peer or its services; try again later")
    say_error(broker, peer, BUSY, 0, 0, envelope, verdict)
    envelope.head.remaining_ms = broker.limits.retry_after_ms


# The holder of the peer's name is the same peer, of an elder connection, which is to be closed. Returns who is seated
# in the newer one now.
cdef Peer* presence_replace(Broker* broker, Peer* elder, Peer* peer, Verdict* verdict) noexcept nogil:
    counter_add(broker.counters, MANAGED_REPLACED, 1)
    verdict.closing = elder.slot
    if peer.role == ROLE_NODE:
        peer_move(&broker.peers, elder, peer)
        return elder
    presence_end(broker, elder)
    elder.is_replaced = True
    return peer


# An absent node is back, on another connection, whose peer is free now.
cdef Peer* presence_return(Broker* broker, Peer* node, Peer* newcomer, Verdict* verdict) noexcept nogil:
    counter_add(broker.counters, MANAGED_RETURNED_NODES, 1)
    if node.requests.count:
        verdict.inherited = node.ticket
    absent_leave(broker, node)
    peer_move(&broker.peers, node, newcomer)
    return node


# The name the peer says is its own from now on. Returns the peer, which may be the elder one come back; or NULL: the
# verdict says why not.
cdef Peer* presence_name(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Peer* holder
    if peer.is_named:
        if has_name(peer, envelope):
            return peer
        say_malformed(broker, peer, b"this connection has another name or incarnation already", envelope, verdict)
        return NULL
    if formers_have_fenced(
        &broker.formers, peer.role, envelope.name, envelope.head.name_bytes, envelope.head.incarnation
    ):
        say_fenced(broker, peer, envelope, verdict)
        return NULL
    holder = peer_named(&broker.peers, peer.role, envelope.name, envelope.head.name_bytes)
    if holder != NULL and not peer_is_there(holder):
        if has_name(holder, envelope):
            return presence_return(broker, holder, peer, verdict)
        node_dismiss(broker, holder)
    elif holder != NULL:
        if not has_name(holder, envelope):
            say_name_in_use(broker, peer, envelope, verdict)
            verdict.challenged = holder.slot
            return NULL
        peer = presence_replace(broker, holder, peer, verdict)
    if not peer.is_named and peer_name(&broker.peers, peer, envelope.name, envelope.head.name_bytes) != 0:
        say_no_room(broker, peer, envelope, verdict)
        return NULL
    peer.incarnation = envelope.head.incarnation
    formers_succeed(&broker.formers, peer)
    return peer


cdef void presence_accept(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    peer.is_known = True
    peer.is_leaving = False
    row_leave(&broker.goodbyes, peer, ROW_GOODBYE)
    say(peer, ACCEPTED, CONTENT_ACCEPTED, envelope, verdict)
    if broker.workers_told or peer.is_dismissed or broker.is_draining and peer.role == ROLE_NODE:
        row_enter(&broker.goodbyes, peer, ROW_GOODBYE)


cdef void presence_hello(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    if gate_denies_name(broker, node, envelope, verdict):
        return
    node = presence_name(broker, node, envelope, verdict)
    if node != NULL:
        presence_accept(broker, node, envelope, verdict)


# ---- workers ----


# Who offers what has changed.
cdef inline void workers_changed(Broker* broker) noexcept nogil:
    offers_changed(broker)
    rest_settle(broker)


# What is wrong with READY's services, in words, or NULL.
cdef const char* offers_check(const uint8_t* content, size_t content_bytes) noexcept nogil:
    cdef Offer offer
    cdef size_t offset = 0
    cdef int count = 0
    cdef int code
    if content == NULL:
        if content_bytes == 0:
            return NULL
        return b"its services do not lie in one piece"
    while True:
        code = offer_next(content, content_bytes, &offset, &offer)
        if code == 0:
            return NULL
        if code < 0:
            return b"its services are not as they have to be"
        count += 1
        if count > OFFERS_MAX:
            return b"it offers more than 1024 services"


# One that a READY names twice counts once, as it is named first.
cdef int offers_take(Broker* broker, Peer* worker, const uint8_t* content, size_t content_bytes) noexcept nogil:
    cdef Offer offer
    cdef size_t offset = 0
    cdef Service* service
    cdef bint is_guarded
    broker.services.stamp += 1
    while content != NULL and offer_next(content, content_bytes, &offset, &offer) == 1:
        service = service_obtain(&broker.services, offer.service, offer.service_bytes)
        if service == NULL:
            return -1
        if service.stamp == broker.services.stamp:
            continue
        service.stamp = broker.services.stamp
        is_guarded = (offer.flags & OFFER_NOT_IDEMPOTENT) != 0
        if service_offer(&broker.services, service, worker, is_guarded, offer.lease_ms) != 0:
            return -1
    return 0


cdef void presence_ready(
    Broker* broker, Peer* worker, EnvelopeView* envelope, const uint8_t* content, size_t content_bytes, Verdict* verdict
) noexcept nogil:
    cdef const char* fault_words = offers_check(content, content_bytes)
    cdef uint32_t credit = envelope.head.credit
    if fault_words != NULL:
        say_malformed(broker, worker, fault_words, envelope, verdict)
        return
    if gate_denies_name(broker, worker, envelope, verdict):
        return
    if gate_denies_offers(broker, worker, content, content_bytes, envelope, verdict):
        return
    worker = presence_name(broker, worker, envelope, verdict)
    if worker == NULL:
        return
    services_withdraw(&broker.services, worker)
    if not worker.is_dismissed and offers_take(broker, worker, content, content_bytes) != 0:
        services_withdraw(&broker.services, worker)
        workers_changed(broker)
        say_no_room(broker, worker, envelope, verdict)
        return
    presence_accept(broker, worker, envelope, verdict)
    worker.credit = credit
    peer_judge(worker)
    rest_consider(broker, worker)
    worker_changed(broker, worker)
    workers_changed(broker)


cdef void presence_review(Broker* broker) noexcept nogil:
    cdef uint32_t slot
    cdef Peer* peer
    cdef bint has_changed = False
    for slot in range(broker.peers.capacity):
        peer = broker.peers.seats[slot]
        if peer != NULL and gate_withdraw(broker, peer):
            has_changed = True
    if has_changed:
        workers_changed(broker)


cdef void presence_credit(Broker* broker, Peer* worker, const EnvelopeView* envelope) noexcept nogil:
    worker.credit = envelope.head.credit
    peer_judge(worker)
    worker_changed(broker, worker)


# ---- leaving ----


# One of a node's open requests is not wanted any more. `is_gone`: nobody will hear of its posts.
cdef void request_desert(Broker* broker, uint32_t slot, bint is_gone) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    if request.state == <int>REQUEST_ENDING:
        ledger_settle(broker, slot, request.outcome)
        ledger_drop(broker, slot)
        return
    if request.kind == <int>POST:
        if is_gone:
            ledger_unlist(broker, slot)
            if request.state == <int>REQUEST_LEASED:
                errand_drop(broker, slot)
        return
    if request_is_nobodys(request):
        ledger_unwait(broker, slot)
        ledger_settle(broker, slot, MANAGED_CANCELLED)
        ledger_drop(broker, slot)
        return
    ledger_settle(broker, slot, MANAGED_CANCELLED)
    ledger_abandon(broker, slot)


# All it has open, or its posts alone.
cdef void open_desert(Broker* broker, Peer* node, bint are_posts, bint is_gone) noexcept nogil:
    cdef uint32_t slot = node.requests.first
    cdef uint32_t after
    while slot != <uint32_t>REQUEST_NONE:
        after = broker.requests.table[slot].links[<int>LINK_NODE].after
        if not are_posts or broker.requests.table[slot].kind == <int>POST:
            request_desert(broker, slot, is_gone)
        slot = after


cdef inline void requests_desert(Broker* broker, Peer* node, bint is_gone) noexcept nogil:
    open_desert(broker, node, False, is_gone)


# A lease ends with its worker. A post that was begun is not delivered again: its node was told already, or is told now.
cdef void lease_lose(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    cdef uint16_t refusal
    ledger_unlease(broker, slot)
    if request.state == <int>REQUEST_ABANDONED:
        ledger_drop(broker, slot)
        return
    if not request.is_unsent:
        counter_add(broker.counters, MANAGED_WORKER_LOST, 1)
        request.deaths += 1
    refusal = retry_refusal(request, MISHAP_LOST)
    if refusal == 0:
        retry_take(broker, slot, MISHAP_LOST, 0)
    elif request.kind == <int>POST and not request.has_errand:
        ledger_settle(broker, slot, MANAGED_FAILED)
        ledger_free(broker, slot)
    else:
        ledger_end(broker, slot, refusal, MANAGED_FAILED)


cdef bint has_live_lease(const Broker* broker, const Peer* worker) noexcept nogil:
    cdef uint32_t slot = worker.requests.first
    cdef const Request* request
    while slot != <uint32_t>REQUEST_NONE:
        request = &broker.requests.table[slot]
        if request.state == <int>REQUEST_LEASED and not request.is_unsent:
            return True
        slot = request.links[<int>LINK_WORKER].after
    return False


# The newest first: each goes in front of those that wait, so that the oldest is first again.
cdef void leases_lose(Broker* broker, Peer* worker) noexcept nogil:
    while worker.requests.last != <uint32_t>REQUEST_NONE:
        lease_lose(broker, worker.requests.last)


# It takes no more; what it holds it may answer.
cdef void worker_retire(Broker* broker, Peer* worker) noexcept nogil:
    peer_judge(worker)
    services_withdraw(&broker.services, worker)
    rest_leave(broker, worker)
    workers_changed(broker)


cdef void presence_goodbye(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    peer.is_leaving = True
    row_leave(&broker.goodbyes, peer, ROW_GOODBYE)
    if peer.role == ROLE_NODE:
        requests_desert(broker, peer, False)
        say(peer, GOODBYE, CONTENT_NONE, envelope, verdict)
        return
    worker_retire(broker, peer)
    worker_freed(broker, peer)


cdef void presence_retire(Broker* broker, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef Peer* worker = peer_named(&broker.peers, ROLE_WORKER, name, name_bytes)
    if worker == NULL or worker.is_leaving or worker.is_dismissed:
        return
    worker.is_dismissed = True
    worker_retire(broker, worker)
    row_enter(&broker.goodbyes, worker, ROW_GOODBYE)


cdef void absent_leave(Broker* broker, Peer* node) noexcept nogil:
    row_leave(&broker.absent, node, ROW_ABSENT)
    row_leave(&broker.remembered, node, ROW_REMEMBERED)
    broker.absent_count -= 1


cdef void absent_enter(Broker* broker, Peer* node) noexcept nogil:
    open_desert(broker, node, True, True)     # what goes on is for the requests' sake
    node.left_ms = broker.now_ms
    row_enter(&broker.absent, node, ROW_ABSENT)
    broker.absent_count += 1
    if broker.absent_count > ABSENT_MAX:
        node_dismiss(broker, broker.remembered.first or broker.absent.first)


# Is there anything of it to come back for?
cdef inline bint may_be_absent(const Broker* broker, const Peer* node) noexcept nogil:
    return (
        broker.memory.limit_bytes and node.is_named and not node.is_leaving
        and (node.requests.count != 0 or node.ring.capacity != 0)
    )


cdef void node_forget(Broker* broker, Peer* node) noexcept nogil:
    peer_unname(&broker.peers, node)
    requests_desert(broker, node, True)
    recall_discard(broker, node)


# It will not come back.
cdef void node_dismiss(Broker* broker, Peer* node) noexcept nogil:
    absent_leave(broker, node)
    node.references += 1        # until all is done with it
    node_forget(broker, node)
    peer_release(&broker.peers, node)


cdef inline int64_t absence_ms(const Broker* broker) noexcept nogil:
    return min(broker.limits.absence_ms, broker.memory.window_ms)


# It has been away for so long that nobody may wait for what it has open.
cdef void absence_end(Broker* broker, Peer* node) noexcept nogil:
    requests_desert(broker, node, False)
    if node.ring.capacity == 0:
        node_dismiss(broker, node)
        return
    row_leave(&broker.absent, node, ROW_ABSENT)
    row_enter(&broker.remembered, node, ROW_REMEMBERED)


cdef void presence_expire(Broker* broker) noexcept nogil:
    while broker.absent.first != NULL and broker.now_ms - broker.absent.first.left_ms >= absence_ms(broker):
        absence_end(broker, broker.absent.first)
    while (
        broker.remembered.first != NULL
        and broker.now_ms - broker.remembered.first.left_ms >= broker.memory.window_ms
    ):
        node_dismiss(broker, broker.remembered.first)


cdef int64_t presence_due_ms(const Broker* broker) noexcept nogil:
    cdef int64_t due_ms = INT64_MAX
    if broker.absent.first != NULL:
        due_ms = broker.absent.first.left_ms + absence_ms(broker)
    if broker.remembered.first != NULL:
        due_ms = min(due_ms, broker.remembered.first.left_ms + broker.memory.window_ms)
    return due_ms


# One that said GOODBYE does not come back.
cdef inline void former_remember(Broker* broker, const Peer* peer) noexcept nogil:
    if peer.is_named and not peer.is_leaving:
        formers_enter(&broker.formers, peer)


cdef void presence_end(Broker* broker, Peer* peer) noexcept nogil:
    peer.is_known = False
    peer_judge(peer)
    rest_leave(broker, peer)
    if peer.role == ROLE_WORKER and has_live_lease(broker, peer):
        rest_fail(broker, peer, broker.now_ms)
    former_remember(broker, peer)
    row_leave(&broker.able, peer, ROW_ABLE)
    row_leave(&broker.goodbyes, peer, ROW_GOODBYE)
    if peer.role == ROLE_NODE:
        if may_be_absent(broker, peer):
            absent_enter(broker, peer)
        else:
            node_forget(broker, peer)
        return
    peer_unname(&broker.peers, peer)
    services_withdraw(&broker.services, peer)
    leases_lose(broker, peer)
    workers_changed(broker)


cdef void presence_dismiss(Broker* broker, Role role) noexcept nogil:
    cdef uint32_t slot
    cdef Peer* peer
    for slot in range(broker.peers.capacity):
        peer = broker.peers.seats[slot]
        if peer != NULL and peer.role == role and peer.is_known and not peer.is_leaving and not peer.is_dismissed:
            row_enter(&broker.goodbyes, peer, ROW_GOODBYE)
