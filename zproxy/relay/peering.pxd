"""Peering: the conversation with one peer that is not messages: greeting, READY, routing id, PING, refusal.

Called by the turn with what the inbox found. Answers with a verdict; the turn acts on it.

    A refusal that an operator can undo (limits, a name in use, a key) is silent: a libzmq peer tries again.
    One that cannot become right on this connection gets ERROR: a libzmq peer stays away.

    READY, or CURVE's INITIATE ─► peer_introduce ─► (a question, and its answer) ─► peer_settle ─► READY
"""

from libc.stdint cimport uint8_t, uint64_t

from zproxy.relay.connection cimport Connection, Reason
from zproxy.relay.hub cimport Hub
from zproxy.relay.mailbox cimport Answer

cdef enum Verdict:
    PEER_GOES_ON                # nothing for the turn to do
    PEER_IS_READY               # the handshake is done: it may be given work
    PEER_IS_MALFORMED           # it must be rejected; the turn first takes its work back
    PEER_IS_OVER                # refused, rejected or doomed: its bytes are of no more use
    PEER_IS_SUSPECT             # managed, and a beat was missed: no new work until it is heard

cdef enum:
    CHALLENGE_MS = 2000         # the holder of a routing id, or a managed peer's name, has this long to show life
    REFUSED_STEP_MS = 250       # silence lasts 4 to 7 of these: 1 s and jitter
    REFUSED_STEPS_MIN = 4
    UNHEARD_MESSAGES_MAX = 500  # sent since its last byte: a libzmq worker at its high-water mark answers no PING
    HEARTBEATS_MISSED_MAX = 3
    BEAT_MS = 2000              # of managed peers, always
    HANDSHAKES_TURN = 16        # CURVE's steps in one turn, some 0.1 ms each: a crowd that comes delays nobody for long

# The stream is there: our whole greeting goes out.
cdef void peering_greet(Hub* hub, Connection* connection) noexcept nogil

# GREETING: judges what is in the inbox's window. Answers our READY, for a frontend only when theirs is there and
# its routing id settled: no message can come before.
cdef Verdict peering_greeting(Hub* hub, Connection* connection) noexcept nogil

# Whether an asked peer may come in.
cdef Verdict peering_answer(Hub* hub, Connection* connection, const Answer* answer) noexcept nogil

# A command came, in whatever state.
cdef Verdict peering_command(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil

# The name's former holder is gone: the newcomer that waited longest has it, the others are refused. NULL: none waits.
cdef Connection* peering_inherit(Hub* hub, const Connection* holder) noexcept nogil

# The holder showed life: those who wait for its name are refused.
cdef void peering_holder_lives(Hub* hub, Connection* holder) noexcept nogil

# Somebody wants the name of this managed peer: it is asked for a sign of life, and has CHALLENGE_MS to give one.
cdef void peering_challenge(Hub* hub, Connection* holder) noexcept nogil

# TIMER_CHALLENGE is due: the holder was silent or hung up and is fenced, or cannot be asked and keeps its name.
cdef void peering_challenge_over(Hub* hub, Connection* connection) noexcept nogil

# Its timer of life is due: PING, wait on, or doom.
cdef Verdict peering_heartbeat(Hub* hub, Connection* connection) noexcept nogil

# TIMER_ACKNOWLEDGE is due: settled, waited on, or doom.
cdef void peering_acknowledge(Hub* hub, Connection* connection) noexcept nogil

# Silent refusal: unread, closed after a while.
cdef void peering_refuse(Hub* hub, Connection* connection, Reason reason) noexcept nogil

# ERROR, then close. `size`: bytes involved, for the log.
cdef void peering_reject(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil

# Closed without a word: it would not understand one, or its stream is cut off inside a message.
cdef void peering_abandon(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil

# TIMER_REFUSED is due.
cdef void peering_refused_over(Hub* hub, Connection* connection) noexcept nogil
