"""Budget: bytes of requests that nobody has, kept at their nodes' charge: of a node, of a service, of all.

    demand ─► budget_exceeded? ─► BUSY, unless somebody could take it at once
    ledger ─► budget_charge when it is kept, budget_discharge when a worker has it or it is over

One message is always within its budget: where nothing else is charged, it may be of any size.
"""

from libc.stdint cimport uint64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.request cimport Request
from zproxy.broker.service cimport Service
from zproxy.broker.verdict cimport Limits

cdef enum Budget:
    BUDGET_NONE                 # all are kept to
    BUDGET_NODE
    BUDGET_SERVICE
    BUDGET_ALL


# Would a request of `count` bytes exceed one, and which?
cdef inline Budget budget_exceeded(
    const Limits* limits, const Peer* node, const Service* service, uint64_t all_bytes, uint64_t count
) noexcept nogil:
    if service.queued_bytes and service.queued_bytes + count > limits.queue_service_bytes:
        return BUDGET_SERVICE
    if node.queued_bytes and node.queued_bytes + count > limits.queue_node_bytes:
        return BUDGET_NODE
    if all_bytes and all_bytes + count > limits.queue_bytes:
        return BUDGET_ALL
    return BUDGET_NONE


cdef inline void budget_charge(Request* request, uint64_t* all_bytes) noexcept nogil:
    request.is_queued = True
    request.node.queued_bytes += request.message_bytes
    request.service.queued_bytes += request.message_bytes
    all_bytes[0] += request.message_bytes


# No-op for one that is not charged.
cdef inline void budget_discharge(Request* request, uint64_t* all_bytes) noexcept nogil:
    if not request.is_queued:
        return
    request.is_queued = False
    request.node.queued_bytes -= request.message_bytes
    request.service.queued_bytes -= request.message_bytes
    all_bytes[0] -= request.message_bytes
