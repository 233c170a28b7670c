"""Mailbox: between Python and the relay thread; see mailbox.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

cdef extern from "<time.h>" nogil:
    enum: CLOCK_MONOTONIC
    ctypedef int clockid_t
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(clockid_t clock, timespec* now)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* lock, void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* lock)
    int pthread_mutex_lock(pthread_mutex_t* lock)
    int pthread_mutex_unlock(pthread_mutex_t* lock)
    int pthread_condattr_init(pthread_condattr_t* attributes)
    int pthread_condattr_setclock(pthread_condattr_t* attributes, clockid_t clock)
    int pthread_condattr_destroy(pthread_condattr_t* attributes)
    int pthread_cond_init(pthread_cond_t* condition, pthread_condattr_t* attributes)
    int pthread_cond_destroy(pthread_cond_t* condition)
    int pthread_cond_broadcast(pthread_cond_t* condition)
    int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* lock, const timespec* until)


cdef int ring_open(Ring* ring, size_t item_bytes, uint64_t capacity) noexcept nogil:
    ring.items = <uint8_t*>calloc(capacity, item_bytes)
    ring.item_bytes = item_bytes
    ring.capacity = capacity
    return 0 if ring.items != NULL else -1


cdef bint ring_put(Ring* ring, const void* item) noexcept nogil:
    if ring.put - ring.got == ring.capacity:
        return False
    memcpy(ring.items + ring.put % ring.capacity * ring.item_bytes, item, ring.item_bytes)
    ring.put += 1
    return True


cdef bint ring_get(Ring* ring, void* item) noexcept nogil:
    if ring.put == ring.got:
        return False
    memcpy(item, ring.items + ring.got % ring.capacity * ring.item_bytes, ring.item_bytes)
    ring.got += 1
    return True


cdef void memory_free(Mailbox* mailbox) noexcept nogil:
    free(mailbox.events.items)
    free(mailbox.questions.items)
    free(mailbox.answers.items)
    free(mailbox.snapshot)
    free(mailbox.report)
    mailbox.snapshot = NULL


cdef int mailbox_open(Mailbox* mailbox, uint32_t snapshot_count) noexcept nogil:
    cdef pthread_condattr_t attributes
    cdef int code = ring_open(&mailbox.events, sizeof(Event), EVENT_CAPACITY)
    code |= ring_open(&mailbox.questions, sizeof(Question), QUESTION_CAPACITY)
    code |= ring_open(&mailbox.answers, sizeof(Answer), QUESTION_CAPACITY)
    mailbox.snapshot = <uint64_t*>calloc(snapshot_count, sizeof(uint64_t))
    mailbox.snapshot_count = snapshot_count
    if code != 0 or mailbox.snapshot == NULL:
        memory_free(mailbox)
        return -1
    pthread_mutex_init(&mailbox.lock, NULL)
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(&mailbox.changed, &attributes)
    pthread_condattr_destroy(&attributes)
    return 0


cdef void mailbox_close(Mailbox* mailbox) noexcept nogil:
    cdef uint32_t index
    if mailbox.snapshot == NULL:
        return
    for index in range(mailbox.command_count):
        free(mailbox.commands[index].content)
    pthread_cond_destroy(&mailbox.changed)
    pthread_mutex_destroy(&mailbox.lock)
    memory_free(mailbox)


cdef timespec until_after(int64_t timeout_ms) noexcept nogil:
    cdef timespec until
    clock_gettime(CLOCK_MONOTONIC, &until)
    until.tv_sec += timeout_ms // 1000
    until.tv_nsec += (timeout_ms % 1000) * 1000000
    if until.tv_nsec >= 1000000000:
        until.tv_sec += 1
        until.tv_nsec -= 1000000000
    return until


cdef int mailbox_post(Mailbox* mailbox, const Command* command) noexcept nogil:
    cdef int code = -1
    pthread_mutex_lock(&mailbox.lock)
    if mailbox.command_count < COMMAND_CAPACITY:
        memcpy(&mailbox.commands[mailbox.command_count], command, sizeof(Command))
        mailbox.command_count += 1
        code = 0
    pthread_mutex_unlock(&mailbox.lock)
    return code


# The next of them, awaited. 1: `item` is filled, 0: nothing came in time.
cdef int ring_await(Mailbox* mailbox, Ring* ring, void* item, int64_t timeout_ms) noexcept nogil:
    cdef timespec until = until_after(timeout_ms)
    cdef int filled
    pthread_mutex_lock(&mailbox.lock)
    while ring.put == ring.got and timeout_ms > 0 and not mailbox.has_ended:
        if pthread_cond_timedwait(&mailbox.changed, &mailbox.lock, &until) != 0:
            break
    filled = ring_get(ring, item)
    pthread_mutex_unlock(&mailbox.lock)
    return filled


cdef int mailbox_await_event(Mailbox* mailbox, Event* event, int64_t timeout_ms) noexcept nogil:
    return ring_await(mailbox, &mailbox.events, event, timeout_ms)


cdef int mailbox_await_question(Mailbox* mailbox, Question* question, int64_t timeout_ms) noexcept nogil:
    return ring_await(mailbox, &mailbox.questions, question, timeout_ms)


cdef int mailbox_answer(Mailbox* mailbox, const Answer* answer) noexcept nogil:
    cdef bint has_room
    pthread_mutex_lock(&mailbox.lock)
    has_room = ring_put(&mailbox.answers, answer)
    pthread_mutex_unlock(&mailbox.lock)
    return 0 if has_room else -1


cdef uint64_t mailbox_ask_snapshot(Mailbox* mailbox, bint wants_report) noexcept nogil:
    cdef uint64_t number
    pthread_mutex_lock(&mailbox.lock)
    mailbox.snapshots_asked += 1
    mailbox.wants_report |= wants_report
    number = mailbox.snapshots_asked
    pthread_mutex_unlock(&mailbox.lock)
    return number


cdef int mailbox_await_snapshot(Mailbox* mailbox, uint64_t number, uint64_t* values, int64_t timeout_ms) noexcept nogil:
    cdef timespec until = until_after(timeout_ms)
    cdef int filled = 0
    pthread_mutex_lock(&mailbox.lock)
    while mailbox.snapshots_served < number and not mailbox.has_ended:
        if pthread_cond_timedwait(&mailbox.changed, &mailbox.lock, &until) != 0:
            break
    if mailbox.snapshots_served >= number or mailbox.has_ended:
        memcpy(values, mailbox.snapshot, mailbox.snapshot_count * sizeof(uint64_t))
        filled = 1
    pthread_mutex_unlock(&mailbox.lock)
    return filled


cdef void* mailbox_take_report(Mailbox* mailbox) noexcept nogil:
    cdef void* report
    pthread_mutex_lock(&mailbox.lock)
    report = mailbox.report
    mailbox.report = NULL
    pthread_mutex_unlock(&mailbox.lock)
    return report


cdef bint mailbox_await_end(Mailbox* mailbox, int64_t timeout_ms) noexcept nogil:
    cdef timespec until = until_after(timeout_ms)
    cdef bint has_ended
    pthread_mutex_lock(&mailbox.lock)
    while not mailbox.has_ended:
        if pthread_cond_timedwait(&mailbox.changed, &mailbox.lock, &until) != 0:
            break
    has_ended = mailbox.has_ended
    pthread_mutex_unlock(&mailbox.lock)
    return has_ended


cdef bint mailbox_take(Mailbox* mailbox, Command* command) noexcept nogil:
    cdef bint is_taken = False
    pthread_mutex_lock(&mailbox.lock)
    if mailbox.command_count:
        memcpy(command, &mailbox.commands[0], sizeof(Command))
        mailbox.command_count -= 1
        memmove(&mailbox.commands[0], &mailbox.commands[1], mailbox.command_count * sizeof(Command))
        is_taken = True
    pthread_mutex_unlock(&mailbox.lock)
    return is_taken


cdef bint ring_tell(Mailbox* mailbox, Ring* ring, const void* item) noexcept nogil:
    cdef bint has_room
    pthread_mutex_lock(&mailbox.lock)
    has_room = ring_put(ring, item)
    pthread_cond_broadcast(&mailbox.changed)
    pthread_mutex_unlock(&mailbox.lock)
    return has_room


cdef bint mailbox_put(Mailbox* mailbox, const Event* event) noexcept nogil:
    return ring_tell(mailbox, &mailbox.events, event)


cdef bint mailbox_ask(Mailbox* mailbox, const Question* question) noexcept nogil:
    return ring_tell(mailbox, &mailbox.questions, question)


cdef bint mailbox_take_answer(Mailbox* mailbox, Answer* answer) noexcept nogil:
    cdef bint is_taken
    pthread_mutex_lock(&mailbox.lock)
    is_taken = ring_get(&mailbox.answers, answer)
    pthread_mutex_unlock(&mailbox.lock)
    return is_taken


cdef uint64_t mailbox_wants_snapshot(Mailbox* mailbox) noexcept nogil:
    cdef uint64_t number
    pthread_mutex_lock(&mailbox.lock)
    number = mailbox.snapshots_asked if mailbox.snapshots_asked > mailbox.snapshots_served else 0
    pthread_mutex_unlock(&mailbox.lock)
    return number


cdef bint mailbox_wants_report(Mailbox* mailbox) noexcept nogil:
    cdef bint wants_report
    pthread_mutex_lock(&mailbox.lock)
    wants_report = mailbox.wants_report
    pthread_mutex_unlock(&mailbox.lock)
    return wants_report


cdef void mailbox_serve_report(Mailbox* mailbox, void* report) noexcept nogil:
    pthread_mutex_lock(&mailbox.lock)
    free(mailbox.report)
    mailbox.report = report
    mailbox.wants_report = False
    pthread_mutex_unlock(&mailbox.lock)


cdef void mailbox_serve_snapshot(Mailbox* mailbox, uint64_t number, const uint64_t* values) noexcept nogil:
    pthread_mutex_lock(&mailbox.lock)
    memcpy(mailbox.snapshot, values, mailbox.snapshot_count * sizeof(uint64_t))
    mailbox.snapshots_served = number
    pthread_cond_broadcast(&mailbox.changed)
    pthread_mutex_unlock(&mailbox.lock)


cdef void mailbox_end(Mailbox* mailbox) noexcept nogil:
    pthread_mutex_lock(&mailbox.lock)
    mailbox.has_ended = True
    pthread_cond_broadcast(&mailbox.changed)
    pthread_mutex_unlock(&mailbox.lock)
