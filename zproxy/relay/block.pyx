"""Block: pooled, reference-counted memory; see block.pxd for the contract. `MessageProbe` is
for the tests."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from zproxy.relay.checks cimport CHECKS_ARE_ON, check, memory_poison, memory_unpoison

cdef extern from "<sys/mman.h>" nogil:
    int MADV_HUGEPAGE
    int madvise(void* address, size_t length, int advice)

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** pointer, size_t alignment, size_t size)

cdef enum:
    # A message grows by MEDIUM blocks up to here, then by LARGE ones: never more than three times what arrived.
    LARGE_FROM_BYTES = 1048576
    # 2 MiB of slices; beyond that they go back to the system, a backlog's worth is not kept for ever.
    FREE_SLICES_KEPT = 65536

cdef uint32_t[3] CAPACITY = [SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES]


cdef Block* block_create(BlockClass block_class) noexcept nogil:
    cdef Block* block = <Block*>calloc(1, sizeof(Block))
    cdef void* memory = NULL
    if block == NULL:
        return NULL
    if block_class != BLOCK_LARGE:
        memory = malloc(CAPACITY[<int>block_class])
    elif posix_memalign(&memory, LARGE_BYTES, LARGE_BYTES) == 0:
        madvise(memory, LARGE_BYTES, MADV_HUGEPAGE)
    if memory == NULL:
        free(block)
        return NULL
    block.bytes = <uint8_t*>memory
    block.capacity = CAPACITY[<int>block_class]
    block.block_class = block_class
    return block


cdef void block_destroy(Block* block) noexcept nogil:
    memory_unpoison(block.bytes, block.capacity)
    free(block.bytes)
    free(block)


cdef void free_blocks_drop(Pool* pool, int block_class, uint32_t count) noexcept nogil:
    cdef Block* block
    while count and pool.free_blocks[block_class] != NULL:
        block = pool.free_blocks[block_class]
        pool.free_blocks[block_class] = block.next
        pool.free_count[block_class] -= 1
        pool.pooled_bytes -= block.capacity
        block_destroy(block)
        count -= 1


cdef void pool_clear(Pool* pool) noexcept nogil:
    cdef int block_class
    cdef Slice* slice
    for block_class in range(BLOCK_CLASSES):
        free_blocks_drop(pool, block_class, pool.free_count[block_class])
    while pool.free_slices != NULL:
        slice = pool.free_slices
        pool.free_slices = slice.next
        memory_unpoison(slice, sizeof(Slice))
        free(slice)
    pool.free_slice_count = 0


cdef uint64_t pool_trim(Pool* pool) noexcept nogil:
    cdef int block_class
    cdef uint64_t kept = 0
    for block_class in range(BLOCK_CLASSES):
        free_blocks_drop(pool, block_class, (pool.idle_count[block_class] + 1) // 2)
        pool.idle_count[block_class] = pool.free_count[block_class]
        kept += pool.free_count[block_class]
    return kept


cdef Block* block_take(Pool* pool, BlockClass block_class) noexcept nogil:
    cdef Block* block = pool.free_blocks[<int>block_class]
    if block != NULL:
        pool.free_blocks[<int>block_class] = block.next
        pool.free_count[<int>block_class] -= 1
        if pool.free_count[<int>block_class] < pool.idle_count[<int>block_class]:
            pool.idle_count[<int>block_class] = pool.free_count[<int>block_class]
        pool.pooled_bytes -= block.capacity
        memory_unpoison(block.bytes, block.capacity)
    else:
        block = block_create(block_class)
        if block == NULL:
            return NULL
    block.refs = 1
    block.fill = 0
    block.next = NULL
    pool.live_bytes += block.capacity
    pool.live_blocks += 1
    return block


cdef void block_release(Pool* pool, Block* block) noexcept nogil:
    check(block.refs != 0)
    block.refs -= 1
    if block.refs:
        return
    pool.live_bytes -= block.capacity
    pool.live_blocks -= 1
    if pool.limit_bytes and pool.live_bytes + pool.pooled_bytes + block.capacity > pool.limit_bytes:
        block_destroy(block)
        return
    memory_poison(block.bytes, block.capacity)
    block.next = pool.free_blocks[block.block_class]
    pool.free_blocks[block.block_class] = block
    pool.free_count[block.block_class] += 1
    pool.pooled_bytes += block.capacity


cdef Slice* slice_take(Pool* pool, Block* block, uint32_t offset, uint32_t length, uint32_t flags) noexcept nogil:
    cdef Slice* slice = pool.free_slices
    if slice != NULL:
        pool.free_slices = slice.next
        pool.free_slice_count -= 1
        memory_unpoison(slice, sizeof(Slice))
    else:
        slice = <Slice*>malloc(sizeof(Slice))
        if slice == NULL:
            return NULL
    block.refs += 1
    slice.block = block
    slice.offset = offset
    slice.length = length
    slice.flags = flags
    slice.next = NULL
    pool.live_bytes += sizeof(Slice)
    pool.live_slices += 1
    return slice


cdef Slice* slice_release(Pool* pool, Slice* slice) noexcept nogil:
    cdef Slice* following = slice.next
    block_release(pool, slice.block)
    pool.live_bytes -= sizeof(Slice)
    pool.live_slices -= 1
    if pool.free_slice_count >= FREE_SLICES_KEPT:
        free(slice)
        return following
    slice.next = pool.free_slices
    pool.free_slices = slice
    pool.free_slice_count += 1
    memory_poison(slice, sizeof(Slice) - sizeof(Slice*))    # all but `next`, its last field
    return following


cdef int block_pack(
    Pool* pool, Block** packing, const uint8_t* head, size_t head_bytes, const uint8_t* body, size_t body_bytes,
    uint32_t* offset
) noexcept nogil:
    cdef Block* block = packing[0]
    if block == NULL or block.capacity - block.fill < head_bytes + body_bytes:
        if block != NULL:
            block_release(pool, block)
        packing[0] = block = block_take(pool, BLOCK_MEDIUM)
        if block == NULL:
            return -1
    offset[0] = block.fill
    memcpy(block.bytes + block.fill, head, head_bytes)
    if body_bytes:
        memcpy(block.bytes + block.fill + head_bytes, body, body_bytes)
    block.fill += <uint32_t>(head_bytes + body_bytes)
    return 0


cdef uint8_t* message_room(Pool* pool, Message* message, size_t* room) noexcept nogil:
    cdef Slice* slice = message.tail
    cdef Block* block
    if slice != NULL and slice.block.fill < slice.block.capacity:
        room[0] = slice.block.capacity - slice.block.fill
        return slice.block.bytes + slice.block.fill
    block = block_take(pool, BLOCK_LARGE if message.bytes >= LARGE_FROM_BYTES else BLOCK_MEDIUM)
    if block == NULL:
        return NULL
    slice = slice_take(pool, block, 0, 0, SLICE_CONTINUES if message.tail != NULL else 0)
    block_release(pool, block)      # the slice's reference is the only one now
    if slice == NULL:
        return NULL
    if message.tail == NULL:
        message.head = slice
    else:
        message.tail.next = slice
    message.tail = slice
    room[0] = block.capacity
    return block.bytes


cdef void message_grow(Message* message, size_t count) noexcept nogil:
    message.tail.length += <uint32_t>count
    message.tail.block.fill += <uint32_t>count
    message.bytes += count


cdef int message_append(Pool* pool, Message* message, const uint8_t* source, size_t count) noexcept nogil:
    cdef size_t room = 0
    cdef uint8_t* target
    while count:
        target = message_room(pool, message, &room)
        if target == NULL:
            return -1
        room = min(room, count)
        memcpy(target, source, room)
        message_grow(message, room)
        source += room
        count -= room
    return 0


cdef void message_join(Message* message, Message* source) noexcept nogil:
    if source.head == NULL:
        return
    if message.tail == NULL:
        message[0] = source[0]
    else:
        source.head.flags |= SLICE_CONTINUES
        message.tail.next = source.head
        message.tail = source.tail
        message.bytes += source.bytes
    source.head = source.tail = NULL
    source.bytes = 0


cdef int message_share(Pool* pool, const Message* source, Message* target) noexcept nogil:
    cdef const Slice* slice = source.head
    cdef Slice* copy
    target.head = target.tail = NULL
    target.bytes = 0
    while slice != NULL:
        copy = slice_take(pool, slice.block, slice.offset, slice.length, 0)
        if copy == NULL:
            message_release(pool, target)
            return -1
        if target.tail != NULL:
            target.tail.next = copy
        else:
            target.head = copy
        target.tail = copy
        target.bytes += slice.length
        slice = slice.next
    return 0


cdef void message_skip(Pool* pool, Message* message, uint64_t count) noexcept nogil:
    cdef Slice* slice
    message.bytes -= count
    while message.head != NULL and count >= message.head.length:
        count -= message.head.length
        message.head = slice_release(pool, message.head)
    slice = message.head
    if slice == NULL:
        message.tail = NULL
        return
    slice.offset += <uint32_t>count
    slice.length -= <uint32_t>count


cdef void message_release(Pool* pool, Message* message) noexcept nogil:
    cdef Slice* slice = message.head
    while slice != NULL:
        slice = slice_release(pool, slice)
    message.head = message.tail = NULL
    message.bytes = 0


# What kind of build this is, so that a test can tell.
IS_CHECKED = bool(CHECKS_ARE_ON)


cdef class MessageProbe:
    """Messages in one pool: two of them, so that one can be joined to the other."""

    cdef Pool pool
    cdef Message message
    cdef Message other

    def __dealloc__(self):
        self.release()
        message_release(&self.pool, &self.other)
        pool_clear(&self.pool)

    def append(self, bytes source):
        """Copies to the message's end."""
        self._append(&self.message, source)

    def append_other(self, bytes source):
        """Copies to the other message's end."""
        self._append(&self.other, source)

    def join(self):
        """Moves all of the other message behind the message."""
        message_join(&self.message, &self.other)

    def skip(self, uint64_t count):
        """Cuts bytes off the front."""
        if count > self.message.bytes:
            raise ValueError("the message is shorter")
        message_skip(&self.pool, &self.message, count)

    def release(self):
        """Gives every slice back."""
        message_release(&self.pool, &self.message)

    def trim(self):
        """Gives half of the idle blocks back to the system: how many are still kept."""
        return pool_trim(&self.pool)

    cdef int _append(self, Message* message, bytes source) except -1:
        if message_append(&self.pool, message, <const uint8_t*><const char*>source, len(source)) != 0:
            raise MemoryError
        return 0

    @property
    def content(self):
        """All bytes of the message."""
        return message_bytes(&self.message)

    @property
    def slices(self):
        """(length, is a continuation) of each slice."""
        cdef Slice* slice = self.message.head
        found = []
        while slice != NULL:
            found.append((slice.length, bool(slice.flags & SLICE_CONTINUES)))
            slice = slice.next
        return found

    @property
    def live_blocks(self):
        """Blocks in use."""
        return self.pool.live_blocks

    @property
    def live_bytes(self):
        """Blocks and slices in use, in bytes."""
        return self.pool.live_bytes

    @property
    def pooled_bytes(self):
        """Blocks kept for reuse, in bytes."""
        return self.pool.pooled_bytes
