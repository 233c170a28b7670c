"""Rest: a worker that fails again and again is given nothing for a while; see rest.pxd for the contract."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t

from zproxy.broker.dispatch cimport worker_changed
from zproxy.broker.homes cimport homes_of_close, homes_of_open
from zproxy.broker.peer cimport ROW_ABLE, ROW_RESTING, peer_judge, row_enter, row_leave
from zproxy.broker.service cimport Service
from zproxy.counters cimport MANAGED_RESTS, counter_add


cdef bint has_other(const Service* service, const Peer* worker) noexcept nogil:
    cdef uint32_t place
    cdef const Peer* other
    for place in range(service.candidates.count):
        other = service.candidates.table[place].worker
        if other != worker and other.is_usable and not other.is_resting:
            return True
    return False


cdef bint is_last(const Broker* broker, const Peer* worker) noexcept nogil:
    cdef uint32_t number
    for number in range(worker.offering_count):
        if not has_other(broker.services.table[worker.offerings[number].service], worker):
            return True
    return False


cdef void rest_begin(Broker* broker, Peer* worker) noexcept nogil:
    counter_add(broker.counters, MANAGED_RESTS, 1)
    worker.rests += 1
    worker.failures = 0
    worker.rests_until_ms = broker.now_ms + <int64_t>REST_MS * worker.rests
    worker.is_resting = True
    peer_judge(worker)
    row_leave(&broker.able, worker, ROW_ABLE)
    row_enter(&broker.resting, worker, ROW_RESTING)
    homes_of_close(broker, worker)


cdef void rest_end(Broker* broker, Peer* worker) noexcept nogil:
    rest_leave(broker, worker)
    peer_judge(worker)
    homes_of_open(broker, worker)
    worker_changed(broker, worker)


cdef void rest_leave(Broker* broker, Peer* worker) noexcept nogil:
    worker.is_resting = False
    row_leave(&broker.resting, worker, ROW_RESTING)


cdef void rest_consider(Broker* broker, Peer* worker) noexcept nogil:
    if worker.failures < <uint32_t>FAILURES_MAX or worker.is_resting or worker.offering_count == 0:
        return
    if not is_last(broker, worker):
        rest_begin(broker, worker)


cdef void rest_fail(Broker* broker, Peer* worker, int64_t since_ms) noexcept nogil:
    if since_ms < worker.failed_ms:
        return
    worker.failed_ms = broker.now_ms
    worker.failures += 1
    if worker.is_known:
        rest_consider(broker, worker)


cdef void rest_settle(Broker* broker) noexcept nogil:
    cdef Peer* worker = broker.resting.first
    cdef Peer* after
    while worker != NULL:
        after = worker.links[<int>ROW_RESTING].after
        if is_last(broker, worker):
            rest_end(broker, worker)
        worker = after


cdef void rest_expire(Broker* broker) noexcept nogil:
    cdef Peer* worker = broker.resting.first
    cdef Peer* after
    while worker != NULL:
        after = worker.links[<int>ROW_RESTING].after
        if broker.now_ms >= worker.rests_until_ms:
            rest_end(broker, worker)
        worker = after


cdef int64_t rest_due_ms(const Broker* broker) noexcept nogil:
    cdef const Peer* worker = broker.resting.first
    cdef int64_t due_ms = INT64_MAX
    while worker != NULL:
        due_ms = min(due_ms, worker.rests_until_ms)
        worker = worker.links[<int>ROW_RESTING].after
    return due_ms
