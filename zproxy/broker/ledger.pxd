"""Ledger: a request's steps, each booked at once everywhere it is known: queues, index, deadlines, places, counters.

    accept ─► order ─► wait ─► lease ─► settle ─► free
      │         │       ├► settle, abandon ─► (the worker answers or goes) ─► unlease, free
      │         │       └► unlease, or split ─► wait again, rest or await ─► wait …
      │         └► settle ─► free, or drop: where there is more to end than one verdict can say
      └► lease

`settle` books the outcome: from then on the request is not live, its node has forgotten it, and no time is kept. What
is said about it is the callers' business; an errand makes broker_step come back to it.

Nothing here looks at policy or touches an envelope.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.service cimport Service
from zproxy.broker.state cimport Broker
from zproxy.envelope cimport Head

# A new request of `node`, live, in state FREE until its first step; deadline_ms is in force. REQUEST_NONE: no memory
# for it and all its further steps, and nothing has changed.
cdef uint32_t ledger_accept(
    Broker* broker, Peer* node, Service* service, const Head* head, uint64_t message_bytes
) noexcept nogil

# It is ordered. Is it the first of its key? Else it stands behind until an errand says that it is.
cdef bint ledger_order(Broker* broker, uint32_t slot) noexcept nogil

# It waits: behind its node's others, or, having been with a worker, before them.
cdef void ledger_wait(Broker* broker, uint32_t slot) noexcept nogil

# It leaves the lane it waits in, stands behind no more, rests no more, or is no more awaited; its state is to be
# changed by the caller.
cdef void ledger_unwait(Broker* broker, uint32_t slot) noexcept nogil

# It is the worker's: a new lease, one attempt and one place more.
cdef void ledger_lease(Broker* broker, uint32_t slot, Peer* worker) noexcept nogil

# Its worker has not begun: this delivery does not count. But chunks carry the number of theirs, so that of a streamed
# request grows all the same, and so do the deliveries it may have.
cdef void ledger_uncount(Broker* broker, uint32_t slot) noexcept nogil

# The worker's place is free again.
cdef void ledger_unlease(Broker* broker, uint32_t slot) noexcept nogil

# The worker keeps the place under the lease, of a request that is over; what goes on has a slot of its own, which is
# returned, leased to nobody. REQUEST_NONE: no memory, and nothing has changed.
cdef uint32_t ledger_split(Broker* broker, uint32_t slot) noexcept nogil

# No worker has it, and it is to be delivered again: not before `until_ms`, or not before the retry budget has a place
# (ration) / once its node has sent it again, for which it is asked.
cdef void ledger_rest(Broker* broker, uint32_t slot, int64_t until_ms) noexcept nogil
cdef void ledger_ration(Broker* broker, uint32_t slot) noexcept nogil
cdef void ledger_await(Broker* broker, uint32_t slot) noexcept nogil

# It has a place in the retry budget until it is settled.
cdef void ledger_admit_retry(Broker* broker, uint32_t slot) noexcept nogil

# The caller keeps its message from now on, under request.payload. / No more; returns the number, or PAYLOAD_NONE.
cdef void ledger_keep(Broker* broker, uint32_t slot) noexcept nogil
cdef uint32_t ledger_unkeep(Broker* broker, uint32_t slot) noexcept nogil

# It is kept, and nobody has it: charged to the budgets of what waits until a worker has it.
cdef void ledger_queue(Broker* broker, uint32_t slot) noexcept nogil


# Is its payload charged to the retention's budgets from now on? No: they are spent.
cdef bint ledger_retain(Broker* broker, uint32_t slot) noexcept nogil

# When something has to happen to it, given where it is now.
cdef void ledger_arm(Broker* broker, uint32_t slot) noexcept nogil

# Its outcome: `counter` says which. It is live no more, and its node may use the sequence anew.
cdef void ledger_settle(Broker* broker, uint32_t slot, int counter) noexcept nogil

# What was settled as `counter`, of the service of that number, did not reach its node.
cdef void ledger_undeliver(Broker* broker, int counter, uint32_t service) noexcept nogil

# Its node is gone: it goes on, but nobody will hear of it.
cdef void ledger_unlist(Broker* broker, uint32_t slot) noexcept nogil

# Settled, its payload spent, and everything else is done: its slot is free. What it knew may be forgotten.
cdef void ledger_free(Broker* broker, uint32_t slot) noexcept nogil

# Settled, but with the worker: that one is to be told, and keeps the place until it answers.
cdef void ledger_abandon(Broker* broker, uint32_t slot) noexcept nogil

# Settled, or left behind, outside of a verdict: free, at once or once broker_step has dropped its payload.
cdef void ledger_drop(Broker* broker, uint32_t slot) noexcept nogil

# Its worker is done with it, one way or the other; the node is to be told `code` (0: ACCEPTED), and then it ends in
# `counter`.
cdef void ledger_end(Broker* broker, uint32_t slot, int code, int counter) noexcept nogil

# There is something to say about it; no-op where there is already. / Not any more.
cdef void errand_add(Broker* broker, uint32_t slot) noexcept nogil
cdef void errand_drop(Broker* broker, uint32_t slot) noexcept nogil
