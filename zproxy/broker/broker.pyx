"""Broker: the events and what follows from them; see broker.pxd for the contract, state.pxd for the rooms below.

Here is only which room an event belongs to, what may be said by whom, and the order of what is done without an event.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from zproxy.broker.access cimport permits_close, permits_take
from zproxy.broker.chain cimport chains_close, chains_open
from zproxy.broker.deadline cimport (
    DEADLINE_NONE, deadline_expire, deadlines_close, deadlines_due_ms, deadlines_open
)
from zproxy.broker.demand cimport (
    demand_abort, demand_cancel, demand_cut, demand_doubt, demand_expire, demand_need_hello, demand_take,
    demand_unkept
)
from zproxy.broker.dispatch cimport dispatch_address, dispatch_again, dispatch_next, worker_changed
from zproxy.broker.gate cimport gate_book
from zproxy.broker.index cimport index_close, index_open
from zproxy.broker.keeping cimport keeping_close, keeping_open
from zproxy.broker.ledger cimport (
    errand_drop, ledger_free, ledger_keep, ledger_retain, ledger_settle, ledger_uncount, ledger_unkeep,
    ledger_unwait
)
from zproxy.broker.outcome cimport outcome_progress, outcome_take, outcome_undelivered
from zproxy.broker.peer cimport (
    ROW_GOODBYE, Peer, peer_at, peer_bind, peer_is_there, peer_judge, peer_seat, peer_unseat, peers_close, peers_open,
    row_leave
)
from zproxy.broker.policy cimport policy_number
from zproxy.broker.presence cimport (
    presence_credit, presence_dismiss, presence_due_ms, presence_end, presence_expire, presence_goodbye,
    presence_hello, presence_ready, presence_retire, presence_review
)
from zproxy.broker.former cimport formers_close
from zproxy.broker.recall cimport recall_code, recall_forget, recall_undo, recall_unkept
from zproxy.broker.request cimport (
    REQUEST_ABANDONED, REQUEST_AWAITED, REQUEST_BEHIND, REQUEST_ENDING, REQUEST_LEASED, REQUEST_WAITING, Request,
    lease_find, lease_of, requests_close, requests_open
)
from zproxy.broker.rest cimport rest_due_ms, rest_expire
from zproxy.broker.retry cimport retry_is_due, retry_is_possible, retry_next
from zproxy.broker.sentence cimport sentence_begin, sentence_name, sentence_number, sentence_words
from zproxy.broker.service cimport Service, services_close, services_open
from zproxy.broker.speech cimport say, say_error, say_malformed, say_outcome
from zproxy.broker.state cimport take_in_hand
from zproxy.broker.stream cimport stream_back, stream_cut, stream_forth, stream_open
from zproxy.broker.verdict cimport REQUEST_NONE, verdict_clear, verdict_spend
from zproxy.broker.waiting cimport waiting_close, waiting_oldest_ms, waiting_open
from zproxy.counters cimport MANAGED_LATE, counter_add
from zproxy.envelope cimport (
    ACCEPTED, CANCEL, CHUNK, CREDIT, ERROR, GOODBYE, HAS_PROGRESS, HAS_STEP, HELLO, OUTCOME_UNKNOWN, POISON, POST,
    PROGRESS, READY,
    REPLY, REQUEST, RESEND, WELCOME, WINDOW, WORKER_LOST, EnvelopeView, Head, Kind
)


cdef int broker_open(Broker* broker, const Limits* limits, Counters* counters, uint64_t seed) noexcept nogil:
    broker.limits = limits[0]
    broker.limits.policies = NULL
    broker.counters = counters
    broker.memory.limit_bytes = limits.dedup_bytes
    broker.memory.window_ms = limits.dedup_ms
    broker.errands.first = broker.errands.last = REQUEST_NONE
    broker.rationed.first = broker.rationed.last = REQUEST_NONE
    requests_open(&broker.requests)
    keeping_open(&broker.keeping)
    deadlines_open(&broker.deadlines)
    if peers_open(&broker.peers, seed) != 0:
        return -1
    if services_open(&broker.services, seed, limits.policy, limits.policies, limits.policies_bytes) != 0:
        return -1
    if index_open(&broker.open, seed) != 0 or waiting_open(&broker.waiting, seed) != 0:
        return -1
    return chains_open(&broker.chains, seed)


cdef void broker_close(Broker* broker) noexcept nogil:
    permits_close(&broker.permits)
    peers_close(&broker.peers)
    services_close(&broker.services)
    requests_close(&broker.requests)
    deadlines_close(&broker.deadlines)
    waiting_close(&broker.waiting)
    chains_close(&broker.chains)
    formers_close(&broker.formers)
    keeping_close(&broker.keeping)
    index_close(&broker.open)


# ---- connections ----


cdef int broker_set_permits(Broker* broker, const uint8_t* packed, size_t count) noexcept nogil:
    if permits_take(&broker.permits, packed, count, broker.now_ms) != 0:
        return -1
    presence_review(broker)
    return 0


cdef void broker_join(
    Broker* broker, uint32_t peer, Role role, uint64_t ticket, uint32_t permit, const uint8_t* name,
    uint8_t name_bytes, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Peer* newcomer = peer_seat(&broker.peers, peer, role)
    verdict_clear(verdict)
    if newcomer != NULL:
        newcomer.ticket = ticket
        newcomer.permit = permit
        peer_bind(newcomer, name, name_bytes)
        say(newcomer, WELCOME, CONTENT_WELCOME, envelope, verdict)


cdef void broker_unsent(Broker* broker, uint32_t peer, const EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef const Head* head = &envelope.head
    cdef uint32_t slot = lease_find(
        &broker.requests, peer_at(&broker.peers, peer), head.lease, head.incarnation, head.sequence
    )
    cdef Request* request
    verdict_clear(verdict)
    if slot == <uint32_t>REQUEST_NONE or broker.requests.table[slot].state != <int>REQUEST_LEASED:
        return
    request = &broker.requests.table[slot]
    request.is_unsent = True
    ledger_uncount(broker, slot)
    if request.payload != <uint32_t>PAYLOAD_NONE:
        return
    ledger_keep(broker, slot)
    take_in_hand(broker, slot)
    verdict.kind = VERDICT_KEEP
    verdict.payload = request.payload


cdef void broker_leave(Broker* broker, uint32_t peer, int64_t now_ms) noexcept nogil:
    cdef Peer* leaver = peer_at(&broker.peers, peer)
    broker.now_ms = now_ms
    if leaver == NULL:
        return
    presence_end(broker, leaver)
    peer_unseat(&broker.peers, leaver)


cdef void broker_set_usable(Broker* broker, uint32_t peer, bint is_usable) noexcept nogil:
    cdef Peer* worker = peer_at(&broker.peers, peer)
    if worker == NULL or worker.is_usable == is_usable:
        return
    worker.is_usable = is_usable
    peer_judge(worker)
    worker_changed(broker, worker)


# ---- messages ----


cdef inline bint is_demand(uint8_t kind) noexcept nogil:
    return kind == <int>REQUEST or kind == <int>POST


cdef inline bint is_streams(uint8_t kind) noexcept nogil:
    return kind == <int>CHUNK or kind == <int>WINDOW


cdef inline bint may_node_say(uint8_t kind) noexcept nogil:
    return is_demand(kind) or is_streams(kind) or kind == <int>HELLO or kind == <int>CANCEL or kind == <int>GOODBYE


cdef inline bint may_worker_say(uint8_t kind) noexcept nogil:
    return (
        kind == <int>REPLY or kind == <int>ERROR or kind == <int>PROGRESS or kind == <int>READY or kind == <int>CREDIT
        or kind == <int>GOODBYE or is_streams(kind)
    )


# Why a peer of this role may not say it, in words, or NULL.
cdef const char* fault_of(const Peer* peer, const Head* head) noexcept nogil:
    if peer.role == ROLE_NODE and not may_node_say(head.kind):
        return b"its kind is not a node's to say: workers connect to a backend, nodes to a frontend"
    if peer.role == ROLE_WORKER and not may_worker_say(head.kind):
        return b"its kind is not a worker's to say: nodes connect to a frontend, workers to a backend"
    if head.name_bytes and head.kind != <int>HELLO and head.kind != <int>READY:
        return b"it has a name, which only HELLO and READY may"
    return NULL


# In which training step it is, as it says itself.
cdef inline void peer_listen(const Broker* broker, Peer* peer, const Head* head) noexcept nogil:
    if not head.flags & (<int>HAS_STEP | <int>HAS_PROGRESS):
        return
    if head.flags & <int>HAS_STEP:
        peer.has_step = True
        peer.step = head.step
    if head.flags & <int>HAS_PROGRESS:
        peer.has_progress = True
        peer.progress = head.progress
    peer.told_ms = broker.now_ms


# It is of another conversation, or comes before HELLO or READY.
cdef void stranger_hear(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    if is_demand(envelope.head.kind):
        demand_need_hello(broker, peer, envelope, verdict)
        return
    counter_add(broker.counters, MANAGED_LATE, 1)


cdef void node_hear(
    Broker* broker, Peer* node, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil:
    cdef uint8_t kind = envelope.head.kind
    if node.is_leaving and is_demand(kind):
        demand_need_hello(broker, node, envelope, verdict)
    elif envelope.head.incarnation != node.incarnation and kind != <int>GOODBYE:
        say_malformed(broker, node, b"its incarnation is not the one of this connection's HELLO", envelope, verdict)
    elif is_demand(kind):
        peer_listen(broker, node, &envelope.head)
        demand_take(broker, node, envelope, message_bytes, verdict)
    elif kind == <int>CHUNK and not gate_book(broker, node, message_bytes):
        demand_cut(broker, node, message_bytes, envelope, verdict)
    elif is_streams(kind):
        stream_forth(broker, node, envelope, verdict)
    elif kind == <int>CANCEL:
        demand_cancel(broker, node, envelope, verdict)
    else:
        presence_goodbye(broker, node, envelope, verdict)


cdef void worker_hear(
    Broker* broker, Peer* worker, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil:
    cdef uint8_t kind = envelope.head.kind
    if kind == <int>REPLY or kind == <int>ERROR:
        outcome_take(broker, worker, envelope, message_bytes, verdict)
    elif kind == <int>PROGRESS:
        peer_listen(broker, worker, &envelope.head)
        outcome_progress(broker, worker, envelope, verdict)
    elif is_streams(kind):
        stream_back(broker, worker, envelope, verdict)
    elif kind == <int>CREDIT:
        presence_credit(broker, worker, envelope)
    else:
        presence_goodbye(broker, worker, envelope, verdict)


cdef void broker_message(
    Broker* broker, uint32_t peer, EnvelopeView* envelope, const uint8_t* content, size_t content_bytes,
    uint64_t message_bytes, int64_t now_ms, Verdict* verdict
) noexcept nogil:
    cdef Peer* speaker = broker.peers.seats[peer]
    cdef const char* fault_words = fault_of(speaker, &envelope.head)
    broker.now_ms = now_ms
    verdict_clear(verdict)
    if speaker.is_replaced:
        counter_add(broker.counters, MANAGED_LATE, 1)
    elif fault_words != NULL:
        say_malformed(broker, speaker, fault_words, envelope, verdict)
    elif envelope.head.conversation != speaker.conversation:
        stranger_hear(broker, speaker, envelope, verdict)
    elif envelope.head.kind == <int>HELLO:
        presence_hello(broker, speaker, envelope, verdict)
    elif envelope.head.kind == <int>READY:
        presence_ready(broker, speaker, envelope, content, content_bytes, verdict)
    elif not speaker.is_known:
        stranger_hear(broker, speaker, envelope, verdict)
    elif speaker.role == ROLE_NODE:
        node_hear(broker, speaker, envelope, message_bytes, verdict)
    else:
        worker_hear(broker, speaker, envelope, message_bytes, verdict)


cdef void broker_malformed(
    Broker* broker, uint32_t peer, const char* fault_words, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Peer* speaker = broker.peers.seats[peer]
    verdict_clear(verdict)
    if speaker.is_replaced:
        counter_add(broker.counters, MANAGED_LATE, 1)
        return
    say_malformed(broker, speaker, fault_words, envelope, verdict)


cdef void broker_undelivered(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    if is_streams(envelope.head.kind):
        stream_cut(broker, peer_at(&broker.peers, verdict.peer), envelope)
        verdict.kind = VERDICT_DROP
        return
    outcome_undelivered(broker, envelope, verdict)


cdef void broker_unkept(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    verdict_clear(verdict)
    demand_unkept(broker, envelope, verdict)


cdef void broker_unretained(Broker* broker) noexcept nogil:
    if broker.recalling == NULL:
        ledger_unkeep(broker, broker.in_hand)
        return
    recall_unkept(broker)
    broker.passed.is_kept = False
    if not peer_is_there(broker.recalling):
        recall_undo(broker)


# ---- without an event ----


# It will not be delivered again: how often it was, who had it last, and what can be done.
cdef void say_ending(Broker* broker, const Request* request, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    if request.code == <int>OUTCOME_UNKNOWN:
        sentence_begin(&broker.sentence, b"a stream of it was cut off, and it may not run twice: ask service ")
        sentence_name(&broker.sentence, request.service.name, request.service.name_bytes)
        sentence_words(&broker.sentence, b" what became of it")
        say_outcome(broker, request, request.code, envelope, verdict)
        return
    sentence_begin(&broker.sentence, b"worker ")
    sentence_name(&broker.sentence, request.worker.name, request.worker.name_bytes)
    sentence_words(&broker.sentence, b" gave no sign for too long" if request.worker.is_known else b" is gone")
    sentence_words(&broker.sentence, b", which had it for service ")
    sentence_name(&broker.sentence, request.service.name, request.service.name_bytes)
    if request.code == <int>WORKER_LOST:
        sentence_words(&broker.sentence, b": send it as a new request, if it may run twice")
    else:
        sentence_words(&broker.sentence, b"; delivered ")
        sentence_number(&broker.sentence, request.attempt)
        sentence_words(&broker.sentence, b" times: see the workers' logs")
        sentence_words(&broker.sentence, b" before you send it again" if request.code == <int>POISON else b"")
    say_outcome(broker, request, request.code, envelope, verdict)


# No outcome: its node is asked for what was not kept.
cdef void say_resend(Broker* broker, const Request* request, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    sentence_begin(&broker.sentence, b"no worker has it any more, and zproxy has not kept it: send it again")
    say_error(broker, request.node, RESEND, request.node.incarnation, request.sequence, envelope, verdict)
    envelope.head.attempt = request.attempt


# To the peer, about the request, and with nothing else to say.
cdef void say_about(
    Broker* broker, uint32_t slot, Peer* peer, Kind kind, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef const Request* request = &broker.requests.table[slot]
    say(peer, kind, CONTENT_NONE, envelope, verdict)
    envelope.head.incarnation = request.node.incarnation
    envelope.head.sequence = request.sequence
    if kind == CANCEL:
        envelope.head.lease = lease_of(request, slot)


# What is to be said about a request, or done, follows from its state.
cdef void errand_do(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    errand_drop(broker, slot)
    if request.state == <int>REQUEST_ABANDONED:
        say_about(broker, slot, request.worker, CANCEL, envelope, verdict)
        verdict_spend(verdict, ledger_unkeep(broker, slot))
    elif request.state == <int>REQUEST_AWAITED:
        say_resend(broker, request, envelope, verdict)
    elif request.state == <int>REQUEST_LEASED and request.streams:
        say_about(broker, slot, request.node, WINDOW, envelope, verdict)
        stream_open(broker, request, envelope)
    elif request.state == <int>REQUEST_LEASED:
        say_about(broker, slot, request.node, ACCEPTED, envelope, verdict)
    elif request.state == <int>REQUEST_BEHIND:
        ledger_unwait(broker, slot)
        dispatch_again(broker, slot)
    elif request.state == <int>REQUEST_ENDING:
        if request.code == 0:
            say_about(broker, slot, request.node, ACCEPTED, envelope, verdict)
        else:
            say_ending(broker, request, envelope, verdict)
            recall_code(broker, request, request.code, verdict)
        verdict_spend(verdict, ledger_unkeep(broker, slot))
        ledger_settle(broker, slot, request.outcome)
        ledger_free(broker, slot)
    else:
        verdict_spend(verdict, ledger_unkeep(broker, slot))
        ledger_free(broker, slot)


cdef void goodbye_say(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Peer* peer = broker.goodbyes.first
    row_leave(&broker.goodbyes, peer, ROW_GOODBYE)
    say(peer, GOODBYE, CONTENT_NONE, envelope, verdict)


# Ends what is live, one after the other. Is there a verdict about one?
cdef bint abort_next(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef uint32_t slot
    while broker.abort_slot < broker.requests.capacity:
        slot = broker.abort_slot
        broker.abort_slot += 1
        if demand_abort(broker, slot, envelope, verdict):
            return True
    broker.is_aborting = False
    return False


# Ends what is due. Is there a verdict about one?
cdef bint expire_next(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef uint32_t slot
    while True:
        slot = deadline_expire(&broker.deadlines, broker.now_ms)
        if slot == <uint32_t>DEADLINE_NONE:
            return False
        if demand_expire(broker, slot, envelope, verdict):
            return True


cdef inline bint are_workers_to_be_told(const Broker* broker) noexcept nogil:
    return broker.is_draining and not broker.workers_told and broker.waiting.count + broker.between == 0


cdef bint send_next(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef uint32_t slot = dispatch_next(broker)
    cdef const Request* request
    if slot == <uint32_t>REQUEST_NONE:
        return False
    request = &broker.requests.table[slot]
    if request.state == <int>REQUEST_WAITING:
        demand_doubt(broker, slot, envelope, verdict)
        return True
    take_in_hand(broker, slot)
    verdict.kind = VERDICT_SEND
    verdict.payload = request.payload
    verdict.peer = request.worker.slot
    if not retry_is_possible(request) or not ledger_retain(broker, slot):
        verdict_spend(verdict, ledger_unkeep(broker, slot))
    return True


# Errands first: what is to be said about a request is said before its time is over.
cdef bint broker_step(Broker* broker, int64_t now_ms, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    broker.now_ms = now_ms
    verdict_clear(verdict)
    if broker.errands.first != <uint32_t>REQUEST_NONE:
        errand_do(broker, broker.errands.first, envelope, verdict)
        return True
    if broker.is_aborting and abort_next(broker, envelope, verdict):
        return True
    presence_expire(broker)
    rest_expire(broker)
    while broker.forgetful.first != NULL:
        if recall_forget(broker, verdict):
            return True
    while retry_is_due(broker):
        retry_next(broker)
    if expire_next(broker, envelope, verdict) or send_next(broker, envelope, verdict):
        return True
    if broker.errands.first != <uint32_t>REQUEST_NONE:      # of what has ended without a word to its node
        errand_do(broker, broker.errands.first, envelope, verdict)
        return True
    if are_workers_to_be_told(broker):
        broker.workers_told = True
        presence_dismiss(broker, ROLE_WORKER)
    if broker.goodbyes.first == NULL:
        return False
    goodbye_say(broker, envelope, verdict)
    return True


cdef void broker_address(Broker* broker, EnvelopeView* envelope) noexcept nogil:
    if broker.recalling == NULL:
        dispatch_address(broker, broker.in_hand, envelope)
    else:
        envelope.head.conversation = broker.recalling.conversation


cdef int64_t broker_due_ms(const Broker* broker) noexcept nogil:
    if broker.errands.first != <uint32_t>REQUEST_NONE or broker.goodbyes.first != NULL or broker.able.first != NULL:
        return 0
    if broker.is_aborting or are_workers_to_be_told(broker) or retry_is_due(broker) or broker.forgetful.first != NULL:
        return 0
    return min(deadlines_due_ms(&broker.deadlines), min(presence_due_ms(broker), rest_due_ms(broker)))


cdef void broker_dismiss(Broker* broker, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    presence_retire(broker, name, name_bytes)


cdef void broker_drain(Broker* broker) noexcept nogil:
    if broker.is_draining:
        return
    broker.is_draining = True
    presence_dismiss(broker, ROLE_NODE)


cdef void broker_abort(Broker* broker) noexcept nogil:
    broker_drain(broker)
    broker.is_aborting = True
    broker.abort_slot = 0


# ---- what it knows ----


cdef uint64_t broker_live(const Broker* broker) noexcept nogil:
    return broker.live


cdef uint64_t broker_waiting(const Broker* broker) noexcept nogil:
    return broker.waiting.count


cdef uint64_t broker_waiting_bytes(const Broker* broker) noexcept nogil:
    return broker.waiting.bytes


cdef uint64_t broker_retained_bytes(const Broker* broker) noexcept nogil:
    return broker.keeping.retained_bytes


# `*` is in the table from the start, and of interest once somebody has offered it.
cdef inline bint is_shown(const Broker* broker, const Service* service) noexcept nogil:
    return service != NULL and (service != broker.services.any or service.was_offered)


cdef void broker_count_rows(
    const Broker* broker, uint32_t* services, uint32_t* peers, uint32_t* offers
) noexcept nogil:
    cdef uint32_t index
    peers[0] = offers[0] = 0
    services[0] = broker.services.forgotten.accepted != 0
    for index in range(broker.services.used):
        services[0] += is_shown(broker, broker.services.table[index])
    for index in range(broker.peers.capacity):
        if broker.peers.seats[index] != NULL:
            peers[0] += 1
            offers[0] += broker.peers.seats[index].offering_count


cdef void service_fill(const Broker* broker, Service* service, ServiceRow* row) noexcept nogil:
    memcpy(row.name, service.name, service.name_bytes)
    row.name_bytes = service.name_bytes
    row.was_offered = service.was_offered
    row.policy = policy_number(service.policy)
    row.workers = service.candidates.count
    row.waiting = service.waiting
    row.waiting_bytes = service.waiting_bytes
    row.oldest_ms = waiting_oldest_ms(&broker.waiting, &broker.requests, &broker.services, service)
    row.account = service.account


cdef void forgotten_fill(const Broker* broker, ServiceRow* row) noexcept nogil:
    row.policy = policy_number(broker.services.policy)
    row.account = broker.services.forgotten


cdef void peer_fill(const Broker* broker, const Peer* peer, PeerRow* row) noexcept nogil:
    row.peer = peer.slot
    row.role = peer.role
    row.is_known = peer.is_known
    row.is_leaving = peer.is_leaving or peer.is_dismissed
    row.is_usable = peer.is_usable
    row.is_resting = peer.is_resting
    memcpy(row.name, peer.name, peer.name_bytes)
    row.name_bytes = peer.name_bytes
    row.incarnation = peer.incarnation
    row.credit = peer.credit
    row.in_flight = peer.requests.count
    if peer.role == ROLE_WORKER and peer.requests.count:
        row.oldest_ms = broker.requests.table[peer.requests.first].since_ms
    row.settled = peer.settled
    row.has_step = peer.has_step
    row.has_progress = peer.has_progress
    row.step = peer.step
    row.progress = peer.progress
    row.told_ms = peer.told_ms


cdef uint32_t offers_fill(const Broker* broker, const Peer* peer, OfferRow* rows) noexcept nogil:
    cdef uint32_t index
    cdef const Service* service
    for index in range(peer.offering_count):
        service = broker.services.table[peer.offerings[index].service]
        rows[index].peer = peer.slot
        memcpy(rows[index].service, service.name, service.name_bytes)
        rows[index].service_bytes = service.name_bytes
    return peer.offering_count


cdef void broker_fill_rows(
    const Broker* broker, ServiceRow* services, PeerRow* peers, OfferRow* offers
) noexcept nogil:
    cdef uint32_t index
    for index in range(broker.services.used):
        if is_shown(broker, broker.services.table[index]):
            service_fill(broker, broker.services.table[index], services)
            services += 1
    if broker.services.forgotten.accepted:
        forgotten_fill(broker, services)
    for index in range(broker.peers.capacity):
        if broker.peers.seats[index] != NULL:
            peer_fill(broker, broker.peers.seats[index], peers)
            peers += 1
            offers += offers_fill(broker, broker.peers.seats[index], offers)
