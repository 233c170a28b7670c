"""Intake: who may be read now, within the budgets; what an unfinished message means for its connection.

Memory in use (`pool.live_bytes`) against --memory decides in levels, so that one kind of load cannot starve
another:

    0 ── 3/4 ──  everybody is read
      ── 7/8 ──  connections in the middle of a large message are not, except the oldest such message
      ──  1  ──  no client is read (beside that one): the rest belongs to replies, whose delivery frees memory
      ── over ─  only the oldest unfinished message is read on

A relay that drains reads no client. A paused connection is simply not read: TCP tells its peer.
"""

from libc.stdint cimport uint64_t

from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub

cdef enum:
    STALL_PROGRESS_BYTES = 65536    # an unfinished message must grow by this in --stall

cdef int intake_level(const Hub* hub) noexcept nogil

# May it be read? Otherwise it is paused, and comes back by intake_resume or intake_refund.
cdef bint intake_admits(Hub* hub, Connection* connection, int level) noexcept nogil

# The level fell: everybody who was paused by it is asked again.
cdef void intake_resume(Hub* hub) noexcept nogil

# A request of this connection left the backlog.
cdef void intake_refund(Hub* hub, Connection* connection, uint64_t count) noexcept nogil

# After a read: is something unfinished, since when? `has_finished`: a whole message was among it.
cdef void intake_settle(Hub* hub, Connection* connection, bint has_finished) noexcept nogil

# Its large message is complete or given up: the next oldest may go on.
cdef void intake_assembled(Hub* hub, Connection* connection) noexcept nogil

# TIMER_STALL is due. Not the peer's fault if we did not read it.
cdef void intake_stalled(Hub* hub, Connection* connection) noexcept nogil

# What one connection's outbox may hold now: its budget, but never more than what is free in all, so that any number
# of slow readers leaves room for the others (the dynamic threshold of Choudhury and Hahne, 1998).
cdef inline uint64_t outbox_budget(const Hub* hub) noexcept nogil:
    cdef uint64_t free_bytes = 0
    if hub.pool.live_bytes < hub.settings.memory_bytes:
        free_bytes = hub.settings.memory_bytes - hub.pool.live_bytes
    return min(hub.settings.connection_bytes, free_bytes)
