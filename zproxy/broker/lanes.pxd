"""Lanes: those in which requests wait for the same workers, by priority; what is in them: waiting.pxd.

    Service.lanes        any worker of the service takes them
    Candidate.lanes      one worker alone does: requests whose key is at home there (policy.pxd)
"""

from libc.stdint cimport uint32_t, uint64_t

from zproxy.broker.peer cimport Peer

cdef enum:
    PRIORITIES = 3

cdef struct Lanes:
    uint32_t[PRIORITIES] rings  # whose turn it is in each; REQUEST_NONE = nobody waits
    uint32_t number             # 0: a service's; else its own
    uint64_t waiting
    Peer* worker                # whose they are; NULL: a service's, or of a worker that is no candidate any more
    uint32_t service            # of which it is a candidate, by number
    bint were_served            # rather than the service's, the last time both had something of one priority
    bint is_unsettled           # in Services.unsettled
    Lanes* next                 # there, or among the free ones


# The lowest priority in which somebody waits; PRIORITIES: nobody does.
cdef inline int lanes_priority(const Lanes* lanes) noexcept nogil:
    cdef int priority = 0
    if lanes.waiting == 0:
        return PRIORITIES
    while lanes.rings[priority] == <uint32_t>0xFFFFFFFF:    # REQUEST_NONE
        priority += 1
    return priority
