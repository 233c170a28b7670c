"""Chain: ordered requests of one key of a service. One of them may be with a worker, the others stand behind it.

    (service, key) ─► Chain ─┬ holders: slots of the first, which waits, is with a worker, or rests
                             └ behind ─► request ─► request      first in, first out, whoever sent them

The first holds its chain until it is over and no worker has anything of it any more: a delivery that was taken away
may still run. Two slots hold it where a request goes on in another one (ledger_split).

Only slots are here; states and times are the ledger's. A chain is there while one of its requests is.
"""

from libc.stdint cimport uint32_t, uint64_t

from zproxy.broker.index cimport Index
from zproxy.broker.peer cimport Queue
from zproxy.broker.request cimport Requests

cdef struct Chain:
    Queue behind
    uint32_t holders
    uint32_t next_free

cdef struct Chains:             # owns `table`; see chains_open
    Chain* table
    uint32_t capacity
    uint32_t used               # numbers below this have been given
    uint32_t free               # REQUEST_NONE = none left of those
    Index index                 # (service, key) → chain

# Empty, from zeroed. 0, or -1: no memory.
cdef int chains_open(Chains* chains, uint64_t seed) noexcept nogil
cdef void chains_close(Chains* chains) noexcept nogil

# Room for one more. 0, or -1: no memory.
cdef int chains_reserve(Chains* chains) noexcept nogil

# Would another request of the key have to stand behind?
cdef bint chain_is_held(const Chains* chains, uint32_t service, uint64_t key_hash) noexcept nogil

# An ordered request comes, into the room that chains_reserve has made. Is it the first, which holds the chain? Else it
# stands behind.
cdef bint chain_enter(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil

# The first has another slot, which holds the chain as well.
cdef void chain_share(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil

# One that stands behind goes.
cdef void chain_leave(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil

# A slot holds the chain no more. Returns who does now, if it was the last; REQUEST_NONE: nobody has come into it.
cdef uint32_t chain_release(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil
