"""Cipher: between the boxes of a CURVE connection and the plain frames that everybody else sees.

    socket ─► cipher_prepare, cipher_open ─► plain frames ─► inbox          outbox ─► cipher_flush ─► boxes ─► socket

A box that is whole is opened from one buffer into the other; of one that is not, and fits no SMALL block, what is here
is opened at once, in the place where the inbox assembles it: it waits for its last byte anyway, and that is only given
to it when the box has proved genuine.

Boxes are closed when the socket takes them, in the order of their nonces: until then a message may still go to another
connection. What is closed stands in front of the outbox as SLICE_WIRE, and belongs to this connection alone: should
that end, it counts as written.

Rule 1. Nothing leaves before all of its box is closed, for the tag stands in front; and the last byte of a frame is
        not given to the inbox before all of its box is genuine.
Rule 2. A turn has a bound: SEAL_TURN_BYTES closed, a read's bytes opened.
Rule 3. A cipher is wiped before it is freed.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.relay.block cimport Block, Message, Pool
from zproxy.relay.box cimport Box
from zproxy.relay.curve cimport Curve
from zproxy.relay.inbox cimport Inbox, iovec
from zproxy.relay.outbox cimport FlushCode, Outbox
from zproxy.relay.sodium cimport KEY_BYTES, TAG_BYTES, Sodium

cdef enum:
    SEAL_BATCH_BYTES = 65536    # of small messages, closed at once: one write
    SEAL_TURN_BYTES = 1048576   # of a large one, as FLUSH_BYTES

cdef enum OpenCode:
    OPEN_OK
    OPEN_FORGED                 # not a box, not the next one, or changed on its way
    OPEN_NO_MEMORY

cdef struct Opening:            # of what comes
    uint8_t[KEY_BYTES] key
    uint64_t newest             # nonce of the newest box
    Block* stash                # bytes read that do not begin a whole box, or are not looked at yet; NULL when none
    bint is_fresh               # the stash was not looked at yet
    Box box                     # the one that is open
    uint8_t[TAG_BYTES] tag
    uint64_t left               # bytes of its body to come; 0: none is open

cdef struct Sealing:            # of what goes
    uint8_t[KEY_BYTES] key
    uint64_t nonce              # of the newest box; after the last one there is, the connection ends
    Message closed              # boxes that cannot leave yet: the last of them is not all closed
    Box box
    uint8_t* tag                # its place, in a block of `closed`
    uint64_t left               # bytes of its body to come; 0: none is open
    bint is_last                # its frame ends a message
    bint is_within              # a message has begun and not ended
    uint64_t messages           # that end in what may leave now

cdef struct Cipher:             # owned by its connection; from cipher_make to cipher_end
    const Sodium* sodium
    bint is_server              # the handshake's side that is ours
    bint is_on                  # the handshake is done: boxes come and go
    bint is_former              # the peer knows us by our former key
    Curve curve                 # until then
    Opening opening
    Sealing sealing

# One that shakes hands; NULL: no memory. `server`: the key of the server that we dial; NULL: we are the server.
cdef Cipher* cipher_make(
    const Sodium* sodium, const uint8_t* public, const uint8_t* secret, const uint8_t* server
) noexcept nogil
cdef void cipher_end(Cipher* cipher, Pool* pool) noexcept nogil

# The handshake is done: from here on boxes come and go. What the inbox still has in its window is boxes, too, and is
# kept for cipher_open. 0, or -1: no memory.
cdef int cipher_begin(Cipher* cipher, Inbox* inbox, Pool* pool) noexcept nogil

# Turns where the inbox wants plain bytes, `target` of `entries`, into where the next read goes: itself, and `raw`, of
# READ_BUFFER_BYTES. 0: what is stashed is to be opened first, without a read.
cdef int cipher_prepare(Cipher* cipher, const Inbox* inbox, uint8_t* raw, iovec* target, int entries) noexcept nogil

# Opens `*count` bytes that were read as prepared: into the inbox's place, and behind what it keeps in `plain`, its read
# buffer. `*count` is then what to tell inbox_accept: also of OPEN_FORGED, whatever stood in front of what is forged.
cdef OpenCode cipher_open(
    Cipher* cipher, const Inbox* inbox, Pool* pool, uint8_t* raw, uint8_t* plain, size_t* count
) noexcept nogil

# Closes and writes what the socket takes.
cdef FlushCode cipher_flush(Cipher* cipher, Outbox* outbox, Pool* pool, int fd) noexcept nogil

# The connection has ended: what was closed is given up, and with it the rest of a message that was closed in part.
# `*torn` grows by the messages.
cdef void cipher_forfeit(Cipher* cipher, Outbox* outbox, Pool* pool, uint64_t* torn) noexcept nogil


# Bytes that wait for the rest of their box.
cdef inline uint64_t cipher_pending(const Cipher* cipher) noexcept nogil:
    return cipher.opening.stash.fill if cipher != NULL and cipher.opening.stash != NULL else 0
