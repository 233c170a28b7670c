"""Request: its states and the queues it stands in; see request.pxd for the contract."""

from libc.stdint cimport INT64_MAX, uint32_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort, free, realloc
from libc.string cimport memset

from zproxy.broker.verdict cimport PAYLOAD_NONE, REQUEST_NONE

cdef enum:
    CAPACITY_FIRST = 64

cdef enum:
    STEP_FREE = 1 << <int>REQUEST_FREE
    STEP_BEHIND = 1 << <int>REQUEST_BEHIND
    STEP_WAITING = 1 << <int>REQUEST_WAITING
    STEP_LEASED = 1 << <int>REQUEST_LEASED
    STEP_RESTING = 1 << <int>REQUEST_RESTING
    STEP_AWAITED = 1 << <int>REQUEST_AWAITED
    STEP_ENDING = 1 << <int>REQUEST_ENDING
    STEP_ABANDONED = 1 << <int>REQUEST_ABANDONED
    STEP_SPENT = 1 << <int>REQUEST_SPENT

# State → the states it may go to, in the enum's order.
cdef uint32_t[<int>REQUEST_STATE_COUNT] TRANSITIONS = [
    STEP_BEHIND | STEP_WAITING | STEP_LEASED,                                               # FREE
    STEP_WAITING | STEP_SPENT | STEP_FREE,                                                  # BEHIND
    STEP_LEASED | STEP_SPENT | STEP_FREE,                                                   # WAITING
    STEP_WAITING | STEP_RESTING | STEP_AWAITED | STEP_ENDING | STEP_ABANDONED | STEP_FREE,  # LEASED
    STEP_WAITING | STEP_AWAITED | STEP_SPENT | STEP_FREE,                                   # RESTING
    STEP_WAITING | STEP_LEASED | STEP_FREE,                                                 # AWAITED
    STEP_SPENT | STEP_FREE,                                                                 # ENDING
    STEP_SPENT | STEP_FREE,                                                                 # ABANDONED
    STEP_FREE,                                                                              # SPENT
]

STATES = ("FREE", "BEHIND", "WAITING", "LEASED", "RESTING", "AWAITED", "ENDING", "ABANDONED", "SPENT")
assert len(STATES) == REQUEST_STATE_COUNT


def legal_transitions():
    """The table by name: each state and the states it may enter."""
    return {
        name: [other for index, other in enumerate(STATES) if TRANSITIONS[state] >> index & 1]
        for state, name in enumerate(STATES)
    }


cdef void request_enter(Request* request, RequestState state) noexcept nogil:
    if not TRANSITIONS[request.state] >> <int>state & 1:
        fprintf(stderr, "zproxy: illegal step of a request %d -> %d\n", <int>request.state, <int>state)
        abort()
    request.state = <int>state


cdef void requests_open(Requests* requests) noexcept nogil:
    requests.free = REQUEST_NONE


cdef void requests_close(Requests* requests) noexcept nogil:
    free(requests.table)
    requests.table = NULL
    requests.capacity = 0


cdef int requests_reserve(Requests* requests) noexcept nogil:
    cdef uint32_t capacity
    cdef uint32_t slot
    cdef Request* grown
    if requests.free != <uint32_t>REQUEST_NONE:
        return 0
    capacity = max(requests.capacity * 2, <uint32_t>CAPACITY_FIRST)
    grown = <Request*>realloc(requests.table, capacity * sizeof(Request))
    if grown == NULL:
        return -1
    memset(grown + requests.capacity, 0, (capacity - requests.capacity) * sizeof(Request))
    for slot in range(requests.capacity, capacity):
        grown[slot].next_free = slot + 1
    grown[capacity - 1].next_free = REQUEST_NONE
    requests.free = requests.capacity
    requests.table = grown
    requests.capacity = capacity
    return 0


cdef uint32_t request_take(Requests* requests) noexcept nogil:
    cdef uint32_t slot = requests.free
    cdef Request* request = &requests.table[slot]
    cdef uint32_t generation = request.generation
    requests.free = request.next_free
    requests.used += 1
    memset(request, 0, sizeof(Request))
    request.generation = generation
    request.payload = PAYLOAD_NONE
    request.lease_due_ms = INT64_MAX
    return slot


cdef void request_give(Requests* requests, uint32_t slot) noexcept nogil:
    request_enter(&requests.table[slot], REQUEST_FREE)
    requests.table[slot].next_free = requests.free
    requests.free = slot
    requests.used -= 1


cdef void queue_append(Requests* requests, Queue* queue, LinkKind kind, uint32_t slot) noexcept nogil:
    cdef Link* link = &requests.table[slot].links[<int>kind]
    link.before = queue.last
    link.after = REQUEST_NONE
    if queue.last != <uint32_t>REQUEST_NONE:
        requests.table[queue.last].links[<int>kind].after = slot
    else:
        queue.first = slot
    queue.last = slot
    queue.count += 1


cdef void queue_prepend(Requests* requests, Queue* queue, LinkKind kind, uint32_t slot) noexcept nogil:
    cdef Link* link = &requests.table[slot].links[<int>kind]
    link.before = REQUEST_NONE
    link.after = queue.first
    if queue.first != <uint32_t>REQUEST_NONE:
        requests.table[queue.first].links[<int>kind].before = slot
    else:
        queue.last = slot
    queue.first = slot
    queue.count += 1


cdef void queue_remove(Requests* requests, Queue* queue, LinkKind kind, uint32_t slot) noexcept nogil:
    cdef Link* link = &requests.table[slot].links[<int>kind]
    if link.before != <uint32_t>REQUEST_NONE:
        requests.table[link.before].links[<int>kind].after = link.after
    else:
        queue.first = link.after
    if link.after != <uint32_t>REQUEST_NONE:
        requests.table[link.after].links[<int>kind].before = link.before
    else:
        queue.last = link.before
    queue.count -= 1
