"""Waiting: requests that nobody can take yet, and whose turn it is.

    Lanes ─── priority 0 ─► ring: Lane(node) ─► Lane(node) ─► Lane(node) ─┐
            ─ priority 1 ─► …       └► request ─► request   └► the first again
            ─ priority 2 ─► …

Lower priorities first; within one, each node in turn, one request each: who has a thousand waiting delays another by
one. Within node and service first in, first out. Where requests wait for one worker, its lanes hold them instead of the
service's (lanes.pxd): there it is within node, service and worker, so within a key.

A lane is there while something waits in it. Only the requests' slots are here; payloads are the caller's.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zproxy.broker.index cimport Index
from zproxy.broker.lanes cimport Lanes
from zproxy.broker.peer cimport Queue
from zproxy.broker.request cimport Requests
from zproxy.broker.service cimport Service, Services

cdef struct Lane:
    Queue requests
    Lanes* lanes                # to which it belongs
    uint64_t key                # lanes, service and priority: its number in the index
    uint32_t owner              # the node's number
    uint32_t before             # in the ring
    uint32_t after              # or in the free ones

cdef struct Waiting:            # owns `lanes`; see waiting_open
    Lane* lanes
    uint32_t capacity
    uint32_t free               # REQUEST_NONE = none left
    Index index                 # (node; lanes, service and priority) → lane
    uint64_t count
    uint64_t bytes

# Empty, from zeroed. 0, or -1: no memory.
cdef int waiting_open(Waiting* waiting, uint64_t seed) noexcept nogil
cdef void waiting_close(Waiting* waiting) noexcept nogil

# Room for `count` requests, each in a lane of its own, if need be: whoever had a place, and lost it to a worker, finds
# one when it comes back. 0, or -1: no memory.
cdef int waiting_reserve(Waiting* waiting, uint32_t count) noexcept nogil

# To the end of its lane, or its front, which may take the room that waiting_reserve has made.
cdef void waiting_push(
    Waiting* waiting, Requests* requests, Services* services, uint32_t slot, bint is_first
) noexcept nogil

# Whose turn it is among those in the lanes, which are some; the turn moves on.
cdef uint32_t waiting_next(Waiting* waiting, Lanes* lanes) noexcept nogil

# Out of its lane: it was taken, or is over.
cdef void waiting_remove(Waiting* waiting, Requests* requests, Services* services, uint32_t slot) noexcept nogil

# When the first of those that wait for the service came; 0: none waits. Looks at the first of every lane.
cdef int64_t waiting_oldest_ms(
    const Waiting* waiting, const Requests* requests, const Services* services, Service* service
) noexcept nogil


cdef inline uint32_t lane_service(const Lane* lane) noexcept nogil:
    return <uint32_t>(lane.key >> 2)
