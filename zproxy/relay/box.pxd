"""Box: what CURVE sends in place of a frame (RFC 26), closed and opened in pieces, so that a frame need not lie in one
piece, nor be there as a whole before it is worked on.

    frame   = flags(1) size(1 or 8) message; MORE and COMMAND count inside; outside, where we and libzmq say neither,
              others tell them a second time
    message = 7 "MESSAGE" nonce(8) tag(16) secret(flags(1) body)

The construction is crypto_box's (XSalsa20, Poly1305), byte for byte; its parts are libsodium's. The first 16 bytes of
all nonces of a direction are the same, so the first step of XSalsa20 is done once for all of them.

Pure and inline: the same code is attacked alone. Nothing branches on what is secret.

Rule 1. What was opened is not genuine until box_is_genuine said so; until then nobody may look at it.
Rule 2. A nonce is used once: it only grows, and a direction ends before it wraps.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from zproxy.relay.sodium cimport KEY_BYTES, NONCE_BYTES, STREAM_BLOCK_BYTES, TAG_BYTES, PolyState, Sodium
from zproxy.relay.zmtp cimport FRAME_COMMAND, FRAME_LONG, FRAME_MORE, be64_read

cdef enum:
    BOX_NONCE_AT = 8            # behind 7 "MESSAGE"
    BOX_TAG_AT = 16
    BOX_HEAD_BYTES = 33         # all in front of the body: its flags are the first byte of the secret
    STREAM_HEAD_BYTES = 32      # of the secret, in the stream's first block; the other half is the tag's key
    PIECE_BYTES = 16384         # enciphered and added to the tag while it is in the nearest cache

cdef enum BoxFlag:              # inside
    BOX_MORE = 1
    BOX_COMMAND = 2

cdef struct Box:                # one that is being closed or opened; whoever holds it wipes it
    PolyState tag
    uint8_t[STREAM_BLOCK_BYTES] head    # the stream's first block
    uint8_t[8] nonce            # the stream's own
    uint64_t offset             # bytes of the secret so far

# The keys of boxes, of one direction: of the shared key and the constant part of the nonces ("CurveZMQMESSAGEC", S).
cdef inline void box_key(
    const Sodium* sodium, uint8_t* key, const uint8_t* shared, const char* constant
) noexcept nogil:
    sodium.derive(key, <const uint8_t*>constant, shared, NULL)


cdef inline void nonce_write(uint8_t* target, uint64_t nonce) noexcept nogil:
    cdef int index
    for index in range(8):
        target[index] = <uint8_t>(nonce >> (56 - 8 * index))


cdef inline void box_begin(const Sodium* sodium, Box* box, const uint8_t* key, const uint8_t* nonce) noexcept nogil:
    memcpy(box.nonce, nonce, 8)
    memset(box.head, 0, STREAM_BLOCK_BYTES)
    sodium.stream(box.head, box.head, STREAM_BLOCK_BYTES, box.nonce, 0, key)
    sodium.tag_begin(&box.tag, box.head)
    box.offset = 0


# `target` = `source` xor the stream. They may be the same.
cdef inline void box_stream(
    const Sodium* sodium, Box* box, const uint8_t* key, uint8_t* target, const uint8_t* source, size_t count
) noexcept nogil:
    cdef uint8_t[STREAM_BLOCK_BYTES] block
    cdef uint64_t at = STREAM_HEAD_BYTES + box.offset
    cdef size_t within = <size_t>(at % STREAM_BLOCK_BYTES)
    cdef size_t part = min(count, <size_t>STREAM_BLOCK_BYTES - within)
    cdef size_t index
    box.offset += count
    if at < STREAM_BLOCK_BYTES:
        for index in range(part):
            target[index] = source[index] ^ box.head[within + index]
    elif within:
        memcpy(block + within, source, part)
        memset(block, 0, within)
        sodium.stream(block, block, within + part, box.nonce, at // STREAM_BLOCK_BYTES, key)
        memcpy(target, block + within, part)
    else:
        part = 0
    if count > part:
        sodium.stream(
            target + part, source + part, count - part, box.nonce, (at + part) // STREAM_BLOCK_BYTES, key
        )


# Of `count` bytes to come, those that are worked on together: to where the stream's position is a multiple of
# PIECE_BYTES, for blocks that are cut cost libsodium's slow way.
cdef inline size_t piece_bytes(const Box* box, size_t count) noexcept nogil:
    return min(count, <size_t>(PIECE_BYTES - (STREAM_HEAD_BYTES + box.offset) % PIECE_BYTES))


# The next bytes of the secret, enciphered / deciphered. `target` and `source` may be the same.
cdef inline void box_close(
    const Sodium* sodium, Box* box, const uint8_t* key, uint8_t* target, const uint8_t* source, size_t count
) noexcept nogil:
    cdef size_t part
    while count:
        part = piece_bytes(box, count)
        box_stream(sodium, box, key, target, source, part)
        sodium.tag_add(&box.tag, target, part)
        target += part
        source += part
        count -= part


cdef inline void box_open(
    const Sodium* sodium, Box* box, const uint8_t* key, uint8_t* target, const uint8_t* source, size_t count
) noexcept nogil:
    cdef size_t part
    while count:
        part = piece_bytes(box, count)
        sodium.tag_add(&box.tag, source, part)
        box_stream(sodium, box, key, target, source, part)
        target += part
        source += part
        count -= part


# All of the secret was closed: its tag.
cdef inline void box_seal(const Sodium* sodium, Box* box, uint8_t* tag) noexcept nogil:
    sodium.tag_end(&box.tag, tag)


# All of the secret was opened: is it what the other side closed?
cdef inline bint box_is_genuine(const Sodium* sodium, Box* box, const uint8_t* tag) noexcept nogil:
    cdef uint8_t[TAG_BYTES] found
    sodium.tag_end(&box.tag, found)
    return sodium.compare(found, tag, TAG_BYTES) == 0


# The head of a box, BOX_HEAD_BYTES of a frame's body: does it say MESSAGE, under a nonce above `newest`? That becomes
# `newest`. Replayed and reordered boxes end here.
cdef inline bint box_head_read(const uint8_t* head, uint64_t* newest) noexcept nogil:
    cdef uint64_t nonce = be64_read(head + BOX_NONCE_AT)
    if memcmp(head, <const uint8_t*>b"\x07MESSAGE", BOX_NONCE_AT) != 0 or nonce <= newest[0]:
        return False
    newest[0] = nonce
    return True


# All of a box's head but its tag and its flags.
cdef inline void box_head_write(uint8_t* head, uint64_t nonce) noexcept nogil:
    memcpy(head, <const uint8_t*>b"\x07MESSAGE", BOX_NONCE_AT)
    nonce_write(head + BOX_NONCE_AT, nonce)


cdef inline uint8_t box_flags(uint8_t frame_flags) noexcept nogil:
    return (frame_flags & FRAME_MORE) | (BOX_COMMAND if frame_flags & FRAME_COMMAND else 0)


cdef inline uint8_t frame_flags(uint8_t box_flags, uint64_t body_bytes) noexcept nogil:
    return (box_flags & BOX_MORE) | (FRAME_COMMAND if box_flags & BOX_COMMAND else 0) | (
        FRAME_LONG if body_bytes > 255 else 0
    )
