"""Admission: whether a peer that has said what it is may come in, and who has a name that two want.

Called by peering and the turn.

    admission_begin ─► (a question, and its answer) ─► its routing id is free, or its holder silent ─► READY
"""

from zproxy.relay.connection cimport Connection
from zproxy.relay.handshake cimport Ready
from zproxy.relay.hub cimport Hub
from zproxy.relay.mailbox cimport Answer
from zproxy.relay.refusal cimport Verdict

cdef enum:
    CHALLENGE_MS = 2000         # the holder of a routing id, or a managed peer's name, has this long to show life

# What it says of itself.
cdef Verdict admission_begin(Hub* hub, Connection* connection, const Ready* ready) noexcept nogil

# Whether an asked peer may come in.
cdef Verdict admission_answer(Hub* hub, Connection* connection, const Answer* answer) noexcept nogil

# The name's former holder is gone: the newcomer that waited longest has it, the others are refused. NULL: none waits.
cdef Connection* admission_inherit(Hub* hub, const Connection* holder) noexcept nogil

# Somebody wants the name of this managed peer: it is asked for a sign of life, and has CHALLENGE_MS to give one.
cdef void holder_challenge(Hub* hub, Connection* holder) noexcept nogil

# The holder showed life: those who wait for its name are refused.
cdef void holder_lives(Hub* hub, Connection* holder) noexcept nogil

# TIMER_CHALLENGE is due: the holder was silent or hung up and is fenced, or cannot be asked and keeps its name.
cdef void holder_challenge_over(Hub* hub, Connection* connection) noexcept nogil
