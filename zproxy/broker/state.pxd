"""State: all the broker knows, in one struct that its rooms work on.

    presence   who is there            ┐            ledger    a request's steps, booked everywhere at once
    demand     what nodes want         ├─ call ─►   dispatch  whose turn it is, and to whom it goes
    outcome    what workers answer     ┘            retry     what becomes of a delivery that came to nothing
                                                    recall    outcomes remembered, for what is sent again
                                                    rest      workers that fail get nothing for a while
    broker     the events, and what is to be done   speech    what the broker says itself
               without one                          gate      what the rules do not allow is refused

Rooms below `broker` get the struct, and never call up. Fields are written by the room named beside them.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zproxy.broker.access cimport Permits
from zproxy.broker.chain cimport Chains
from zproxy.broker.deadline cimport Deadlines
from zproxy.broker.former cimport Formers
from zproxy.broker.index cimport Index
from zproxy.broker.keeping cimport Keeping
from zproxy.broker.peer cimport Peer, PeerQueue, Peers, Queue
from zproxy.broker.request cimport Requests
from zproxy.broker.ring cimport Memory, RingEntry
from zproxy.broker.sentence cimport Sentence
from zproxy.broker.service cimport Services
from zproxy.broker.verdict cimport Limits
from zproxy.broker.waiting cimport Waiting
from zproxy.counters cimport Counters

cdef struct Passed:             # the outcome that was passed to a node last, should it not reach its outbox (outcome)
    int counter                 # in which it was counted
    uint32_t service            # by number; forgotten, perhaps
    bint is_guarded             # may its request not run twice?
    bint is_kept                # it can be given again
    bint is_again               # it is: an elder one

cdef struct Broker:             # owned by the fast path; see broker_open
    Counters* counters          # the hub's
    Limits limits
    int64_t now_ms              # broker: of the newest event
    Permits permits             # broker: the rules; gate takes out of their buckets
    Peers peers                 # presence
    Services services           # presence; demand adds those it is asked for
    Requests requests           # ledger
    Index open                  # ledger: (node, sequence) → request
    Deadlines deadlines         # ledger, by request
    Waiting waiting             # ledger
    Chains chains               # ledger
    Keeping keeping             # ledger
    uint64_t live               # ledger: accepted, without an outcome
    uint64_t between            # ledger: of them, behind others of their key, or between two deliveries
    uint64_t queued_bytes       # ledger: of all that nobody has, see budget.pxd
    uint64_t retrying           # ledger: of them, those with a place in the retry budget
    Queue rationed              # ledger: those that rest until there is a place
    uint32_t in_hand            # the request a KEEP, PASS or SEND is about (demand, broker)
    Queue errands               # ledger: requests about which something is to be said
    PeerQueue able              # dispatch: rule 1 there
    PeerQueue goodbyes          # to whom GOODBYE is to be said
    PeerQueue absent            # presence: nodes that may come back, with what they have open
    PeerQueue remembered        # presence: those that have nothing open any more
    uint32_t absent_count       # presence: in both rows
    Formers formers             # presence: whose connection ended
    PeerQueue resting           # rest: workers that failed too often
    PeerQueue forgetful         # recall: nodes of whose outcomes some, or all, are to be forgotten
    Memory memory               # recall: of all nodes' outcomes
    RingEntry* recalled         # recall: the newest, until the next event; NULL: forgotten at once
    Peer* recalling             # whose it is; NULL: what is in hand is a request's
    Sentence sentence           # speech
    Passed passed
    bint is_draining
    bint workers_told           # GOODBYE, after the last request that waited
    bint is_aborting
    uint32_t abort_slot         # requests below it have ended


# The message in hand is this request's, not an outcome that is told again.
cdef inline void take_in_hand(Broker* broker, uint32_t slot) noexcept nogil:
    broker.in_hand = slot
    broker.recalling = NULL
