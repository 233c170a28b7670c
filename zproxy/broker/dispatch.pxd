"""Dispatch: to whom a request goes, and what waits.

Rule 1. Whoever could take something that waits stands in `broker.able`. So a request that finds nobody waits, and
        nobody has to look for it: workers are entered when they become able, and leave the row when they find nothing.
Rule 2. Nobody overtakes: what arrives goes out at once only where nothing waits for its service, nor, where it has a
        home, for that worker.
"""

from libc.stdint cimport int64_t, uint32_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.request cimport Request
from zproxy.broker.service cimport Service
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Verdict
from zproxy.envelope cimport EnvelopeView, Head

# The worker that takes a request which has just come for the service; NULL: it has to wait.
cdef Peer* dispatch_arrival(Broker* broker, uint32_t slot) noexcept nogil

# Would a request that comes now have to wait?
cdef bint dispatch_finds_nobody(Broker* broker, Service* service, const Head* head) noexcept nogil

# It was with a worker and is to go to another: into the queue, in front, and who could take it is woken.
cdef void dispatch_again(Broker* broker, uint32_t slot) noexcept nogil

# Leases the next that waits to the worker it goes to; REQUEST_NONE: nothing of what waits can go. One that still waits
# afterwards may have run before and may not run twice: it is the caller's to end.
cdef uint32_t dispatch_next(Broker* broker) noexcept nogil

# The envelope of a request's own message becomes its worker's.
cdef void dispatch_address(Broker* broker, uint32_t slot, EnvelopeView* envelope) noexcept nogil

# A worker's message about a request becomes its node's, who is there.
cdef void dispatch_back(
    const Request* request, const Peer* worker, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# A worker may be able to take (again): a place is free, its credit, its offers or its outbox have changed.
cdef void worker_changed(Broker* broker, Peer* worker) noexcept nogil

# A place of the worker's is free: the same, and one that leaves and holds nothing more is told GOODBYE.
cdef void worker_freed(Broker* broker, Peer* worker) noexcept nogil

# Workers have come or gone. Services may have lost the last that named them: whoever offers `*` takes for them now. And
# who waits for one worker may have another home (homes.pxd).
cdef void offers_changed(Broker* broker) noexcept nogil
