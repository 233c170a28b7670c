"""Former: peers whose connection ended without GOODBYE, as far as it matters when their names are said again.

    its connection ends ─► formers_enter ─► the newest FORMERS_MAX, the oldest forgotten first
    HELLO, READY ─► formers_have_fenced: is this incarnation out for good, because a successor has its name?
                    formers_succeed: the name is the newcomer's, and with it how often its worker has failed

Asked only when a peer says its name, so they are looked through one by one.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.broker.peer cimport PEER_NAME_BYTES, Peer
from zproxy.broker.verdict cimport Role

cdef enum:
    FORMERS_MAX = 4096          # a hundred bytes each

cdef struct Former:
    uint64_t incarnation
    uint32_t failures           # of a worker, see rest.pxd
    uint32_t rests
    Role role
    bint is_fenced
    uint8_t name_bytes
    uint8_t[PEER_NAME_BYTES] name

cdef struct Formers:            # owns `table`; empty when zeroed
    Former* table               # a ring once it is full
    uint32_t capacity
    uint32_t count
    uint32_t next               # where the next is written, once it is full

cdef void formers_close(Formers* formers) noexcept nogil

# Where there is no memory it is forgotten at once.
cdef void formers_enter(Formers* formers, const Peer* peer) noexcept nogil

# Is that incarnation of the name out for good?
cdef bint formers_have_fenced(
    const Formers* formers, Role role, const uint8_t* name, uint8_t name_bytes, uint64_t incarnation
) noexcept nogil

# The peer has the name now: other incarnations that had it stay out. It inherits the failures.
cdef void formers_succeed(Formers* formers, Peer* peer) noexcept nogil
