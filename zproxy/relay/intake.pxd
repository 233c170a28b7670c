"""Intake: who may be read now, within the budgets; what an unfinished message means for its connection.

Memory in use (`pool.live_bytes`) against --memory decides in levels, so that one kind of load cannot starve
another:

    0 ── 3/4 ──  everybody is read
      ── 7/8 ──  nobody in the middle of a large message, but for the oldest such message of each side
      ──  1  ──  no client, but for that message, as long as all the rest stays below 7/8
      ── over ─  workers still, as long as what clients leave unread stays below 1/8: a worker that answers before
                 it reads on can always be rid of its answer

So memory exceeds its limit by one message of each side at most. A client over its own budget of waiting requests is
not read, nor one that has sent more than it may for now, nor is any client while the relay drains. Nobody is told: TCP
tells a peer that it is not read.
"""

from libc.stdint cimport uint64_t

from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub

cdef enum:
    STALL_PROGRESS_BYTES = 65536    # an unfinished message must grow by this in --stall
    RATE_STEP_MS = 50               # a client over its rate is looked at again so often
    SLOW_AFTER_MS = 1000            # a client that took nothing for so long is slow: above a round trip, a busy moment

cdef int intake_level(const Hub* hub) noexcept nogil

# May it be read? Otherwise it is paused, and comes back by intake_watch, intake_refund or intake_resume.
cdef bint intake_admits(Hub* hub, Connection* connection) noexcept nogil

# Once a turn: whoever may be read again by now is.
cdef void intake_watch(Hub* hub) noexcept nogil

# A request of this connection left the backlog.
cdef void intake_refund(Hub* hub, Connection* connection, uint64_t count) noexcept nogil

# It has sent more than it may for now: TIMER_RATE runs / it may send on.
cdef void intake_hold(Hub* hub, Connection* connection) noexcept nogil
cdef void intake_resume(Hub* hub, Connection* connection) noexcept nogil

# After a read: is something unfinished, since when? `has_finished`: a whole message was among it; a command is no
# progress of the message it interrupts.
cdef void intake_settle(Hub* hub, Connection* connection, bint has_finished) noexcept nogil

# Its large message is complete or given up: the next oldest may go on.
cdef void intake_assembled(Hub* hub, Connection* connection) noexcept nogil

# TIMER_STALL is due. Not the peer's fault if we did not read it.
cdef void intake_stalled(Hub* hub, Connection* connection) noexcept nogil

# TIMER_ACKNOWLEDGE is due: is it a client that has taken next to nothing for --stall, while all others wait for the
# memory that clients like it leave unread? It has to go then: silence is no reason, but nothing else would ever help.
cdef bint intake_holds_up(Hub* hub, Connection* connection) noexcept nogil


# Free below the first level, of which each outbox may have as much as it leaves free: any number of slow readers leaves
# room for the others (the dynamic threshold of Choudhury and Hahne, 1998).
cdef inline uint64_t outbox_share(const Hub* hub) noexcept nogil:
    cdef uint64_t limit = hub.settings.memory_bytes - hub.settings.memory_bytes // 4
    return limit - hub.pool.live_bytes if hub.pool.live_bytes < limit else 0


# What the outbox of a peer that does not read may hold now.
cdef inline uint64_t outbox_budget(const Hub* hub) noexcept nogil:
    return min(hub.settings.connection_bytes, outbox_share(hub))


# What replies may fill of a client's outbox now. While its socket takes something it is no slow reader, however much
# came for it at once: three tensors of 40 MiB are no reason to drop the third.
cdef inline uint64_t reply_budget(const Hub* hub, const Connection* client) noexcept nogil:
    return outbox_share(hub) if hub.now_ms - client.written_ms < SLOW_AFTER_MS else outbox_budget(hub)
