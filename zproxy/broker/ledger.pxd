"""Ledger: a request's steps, each booked at once everywhere it is known: queues, index, deadlines, places, counters.

    accept ─► wait ─► lease ─► settle ─► free
      │         │       └► settle, abandon ─► (the worker answers or goes) ─► unlease, free
      │         └► settle ─► free, or spend: where there is more to end than one verdict can say
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
    Broker* broker, Peer* node, Service* service, const Head* head, uint64_t message_bytes, int64_t now_ms
) noexcept nogil

# It waits.
cdef void ledger_wait(Broker* broker, uint32_t slot) noexcept nogil

# It leaves the lane it waits in, and its state is to be changed by the caller.
cdef void ledger_unwait(Broker* broker, uint32_t slot) noexcept nogil

# It is the worker's: a new lease, one attempt and one place more.
cdef void ledger_lease(Broker* broker, uint32_t slot, Peer* worker) noexcept nogil

# The worker's place is free again.
cdef void ledger_unlease(Broker* broker, uint32_t slot) noexcept nogil

# Its outcome: `counter` says which. It is live no more, and its node may use the sequence anew.
cdef void ledger_settle(Broker* broker, uint32_t slot, int counter) noexcept nogil

# Its node is gone: it goes on, but nobody will hear of it.
cdef void ledger_unlist(Broker* broker, uint32_t slot) noexcept nogil

# Settled, and everything else is done: its slot is free. What it knew may be forgotten.
cdef void ledger_free(Broker* broker, uint32_t slot) noexcept nogil

# Settled, but with the worker: that one is to be told, and keeps the place until it answers.
cdef void ledger_abandon(Broker* broker, uint32_t slot) noexcept nogil

# Settled while it waited: its payload is to be dropped.
cdef void ledger_spend(Broker* broker, uint32_t slot) noexcept nogil

# Its worker is done with it, one way or the other; the node is to be told `code` (0: ACCEPTED), and then it ends in
# `counter`.
cdef void ledger_end(Broker* broker, uint32_t slot, int code, int counter) noexcept nogil

# There is something to say about it; no-op where there is already. / Not any more.
cdef void errand_add(Broker* broker, uint32_t slot) noexcept nogil
cdef void errand_drop(Broker* broker, uint32_t slot) noexcept nogil
