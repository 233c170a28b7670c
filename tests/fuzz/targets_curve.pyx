"""Targets of CURVE: both sides of its handshake, and the boxes after it; see targets.pyx.

A genuine handshake is made once, between a server and a client whose keys come of fixed dice. An input then goes in for
one of its commands; its first byte says how (Attack). So it gets past the cryptography, which no mutation does:

    raw       the input is the command
    patched   the genuine command, cut or longer, with some bytes changed: refused, if anything is changed
    sealed    the input is what a peer with genuine keys put into a command, and closed rightly
"""

from libc.stdint cimport int8_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from laws cimport hold, lies_within, properties_check
from zproxy.relay.box cimport (
    BOX_HEAD_BYTES, BOX_NONCE_AT, BOX_TAG_AT, Box, box_begin, box_close, box_head_read, box_head_write, box_is_genuine,
    box_open, box_seal
)
from zproxy.relay.curve cimport (
    CURVE_FORGED, CURVE_HELLO_BYTES, CURVE_OK, CURVE_WELCOME_BYTES, CURVE_WRITTEN_MAX, Curve,
    CurveCode, curve_dial, curve_hello_read, curve_hello_write, curve_initiate_read, curve_initiate_write, curve_keys,
    curve_ready_read, curve_ready_write, curve_serve, curve_serve_former, curve_welcome_read, curve_welcome_write,
    nonce_join
)
from zproxy.relay.handshake cimport PROPERTIES_MAX, properties_write
from zproxy.relay.sodium cimport KEY_BYTES, NONCE_BYTES, TAG_BYTES, Sodium
from zproxy.relay.zmtp cimport COMMAND_BYTES_MAX

cdef extern from *:
    uint64_t driver_roll() nogil

cdef enum Attack:
    RAW_FIRST                   # HELLO to a server, WELCOME to a client
    PATCHED_FIRST
    RAW_SECOND                  # INITIATE, READY
    PATCHED_SECOND
    SEALED_PROPERTIES           # of the second command
    SEALED_SECRET               # all of INITIATE's box; WELCOME's
    ATTACKS

cdef enum:
    INITIATE_OPEN_BYTES = 113   # in front of its box
    PROPERTIES_BYTES_MAX = 240  # what curve_initiate_write has room for

cdef struct Command:
    uint8_t[CURVE_WRITTEN_MAX] frame
    uint8_t* body
    size_t count

cdef struct Handshake:          # as each side stood before it read a command
    Curve server                # before HELLO
    Curve server_second         # before INITIATE
    Curve server_last           # before it writes READY
    Curve client                # before WELCOME
    Curve client_second         # before READY
    Curve client_initiates      # before it writes INITIATE
    Command hello
    Command welcome
    Command initiate
    Command ready

cdef const Sodium* sodium
cdef Sodium table
cdef Handshake genuine


# ---- the genuine handshake ----

# What libsodium would ask the system for: repeatable.
cdef void dice_fill(void* target, size_t count) noexcept nogil:
    cdef size_t index
    for index in range(count):
        (<uint8_t*>target)[index] = <uint8_t>(driver_roll() >> 24)


cdef int dice_keypair(uint8_t* public, uint8_t* secret) noexcept nogil:
    dice_fill(secret, KEY_BYTES)
    return sodium.public_of(public, secret)


cdef void command_end(Command* command, size_t frame_bytes) noexcept nogil:
    cdef size_t head_bytes = 9 if command.frame[0] & 2 else 2
    hold(head_bytes < frame_bytes <= CURVE_WRITTEN_MAX)
    command.body = command.frame + head_bytes
    command.count = frame_bytes - head_bytes


# Each state is kept before it goes on.
cdef void handshake_make(Handshake* made) noexcept nogil:
    cdef uint8_t[KEY_BYTES] public, secret, client_public, client_secret
    cdef uint8_t[PROPERTIES_MAX] properties
    cdef uint8_t[COMMAND_BYTES_MAX] opened
    cdef const uint8_t* found
    cdef size_t found_bytes, count = properties_write(properties, True)
    cdef Curve server, client
    dice_keypair(public, secret)
    dice_keypair(client_public, client_secret)
    curve_serve(&server, public, secret)
    curve_serve_former(&server, client_public, client_secret)      # what is not for one of its keys is for none
    curve_dial(&client, client_public, client_secret, public)
    made.server = server
    command_end(&made.hello, curve_hello_write(sodium, &client, made.hello.frame))
    made.client = client
    hold(curve_hello_read(sodium, &server, made.hello.body, made.hello.count) == CURVE_OK)
    command_end(&made.welcome, curve_welcome_write(sodium, &server, made.welcome.frame))
    made.server_second = server
    hold(curve_welcome_read(sodium, &client, made.welcome.body, made.welcome.count) == CURVE_OK)
    made.client_initiates = client
    command_end(&made.initiate, curve_initiate_write(sodium, &client, made.initiate.frame, properties, count))
    made.client_second = client
    hold(curve_initiate_read(
        sodium, &server, made.initiate.body, made.initiate.count, opened, &found, &found_bytes
    ) == CURVE_OK)
    made.server_last = server
    command_end(&made.ready, curve_ready_write(sodium, &server, made.ready.frame, properties, count))


# The functions of libsodium, in the order of Sodium; called once. `random` and `keypair` are ours.
cdef public void fuzz_sodium(void** functions) noexcept nogil:
    global sodium
    memcpy(&table, functions, sizeof(Sodium))
    table.random = dice_fill
    table.keypair = dice_keypair
    sodium = &table
    hold(table.init() >= 0)
    handshake_make(&genuine)


# ---- what is done to a command ----

# A copy as an input wants it: how much shorter or longer, then (place(2), change(1))*. To be freed.
cdef uint8_t* command_patched(
    const Command* command, const uint8_t* patch, size_t patch_bytes, size_t* count
) noexcept nogil:
    cdef size_t place, at = 1
    cdef int longer = <int8_t>patch[0] if patch_bytes else 0
    cdef uint8_t* body
    count[0] = command.count + longer if longer >= -<int>command.count else 0
    body = <uint8_t*>malloc(count[0])
    memset(body, 0, count[0])
    memcpy(body, command.body, min(count[0], command.count))
    while at + 3 <= patch_bytes and count[0]:
        place = (patch[at] | <size_t>patch[at + 1] << 8) % count[0]
        body[place] ^= patch[at + 2]
        at += 3
    return body


cdef bint is_genuine(const Command* command, const uint8_t* body, size_t count) noexcept nogil:
    return count == command.count and memcmp(body, command.body, count) == 0


# ---- the server's side ----

# A client's INITIATE. 1: it was taken, and the properties are right in form.
cdef int initiate_check(Curve* server, const uint8_t* body, size_t count, bint is_expected) noexcept nogil:
    cdef uint8_t* opened = <uint8_t*>malloc(COMMAND_BYTES_MAX)
    cdef const uint8_t* properties
    cdef size_t properties_bytes = 0
    cdef int found = 0
    cdef CurveCode code = curve_initiate_read(sodium, server, body, count, opened, &properties, &properties_bytes)
    hold((code == CURVE_OK) == is_expected)
    if code == CURVE_OK:
        hold(lies_within(properties, properties_bytes, opened, count))
        hold(memcmp(server.peer, genuine.client.public, KEY_BYTES) == 0)
        found = properties_check(properties, properties_bytes)
    free(opened)
    return found


# A client's HELLO. The highest bit of a public key means nothing (RFC 7748), so that alone may be changed; the vouch
# in INITIATE is for the key as it was, and does not fit any more.
cdef int hello_check(const uint8_t* body, size_t count) noexcept nogil:
    cdef Curve server = genuine.server
    cdef CurveCode code = curve_hello_read(sodium, &server, body, count)
    if code != CURVE_OK:
        hold(not is_genuine(&genuine.hello, body, count))
        return 0
    hold(count == CURVE_HELLO_BYTES)
    memcpy(server.brief_public, genuine.server_second.brief_public, KEY_BYTES)
    memcpy(server.brief_secret, genuine.server_second.brief_secret, KEY_BYTES)
    memcpy(server.cookie, genuine.server_second.cookie, sizeof(server.cookie))
    initiate_check(&server, genuine.initiate.body, genuine.initiate.count, is_genuine(&genuine.hello, body, count))
    return 1


# INITIATE of a client with genuine keys that says `properties`.
cdef int initiate_sealed(const uint8_t* properties, size_t count) noexcept nogil:
    cdef Curve server = genuine.server_second
    cdef Curve client = genuine.client_initiates
    cdef Command made
    command_end(&made, curve_initiate_write(
        sodium, &client, made.frame, properties, min(count, <size_t>PROPERTIES_BYTES_MAX)
    ))
    return initiate_check(&server, made.body, made.count, True)


# INITIATE with `secret` for C, its vouch and properties: nobody vouches.
cdef int initiate_of_secret(const uint8_t* secret, size_t count) noexcept nogil:
    cdef Curve server = genuine.server_second
    cdef uint8_t[NONCE_BYTES] nonce
    cdef size_t body_bytes = INITIATE_OPEN_BYTES + TAG_BYTES + count
    cdef uint8_t* body = <uint8_t*>malloc(body_bytes)
    memcpy(body, genuine.initiate.body, INITIATE_OPEN_BYTES)
    nonce_join(nonce, b"CurveZMQINITIATE", 16, body + 105)
    sodium.box(body + INITIATE_OPEN_BYTES, secret, count, nonce, genuine.client_initiates.shared)
    initiate_check(&server, body, body_bytes, is_genuine(&genuine.initiate, body, body_bytes))
    free(body)
    return 0


cdef public int fuzz_curve_server(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Curve server = genuine.server_second
    cdef uint8_t* body
    cdef size_t body_bytes
    cdef int attack, found
    if count == 0:
        return 0
    attack = bytes[0] % ATTACKS
    bytes += 1
    count -= 1
    if attack == RAW_FIRST:
        return hello_check(bytes, count)
    if attack == RAW_SECOND:
        return initiate_check(&server, bytes, count, is_genuine(&genuine.initiate, bytes, count))
    if attack == SEALED_PROPERTIES:
        return initiate_sealed(bytes, count)
    if attack == SEALED_SECRET:
        return initiate_of_secret(bytes, count)
    if attack == PATCHED_FIRST:
        body = command_patched(&genuine.hello, bytes, count, &body_bytes)
        found = hello_check(body, body_bytes)
    else:
        body = command_patched(&genuine.initiate, bytes, count, &body_bytes)
        found = initiate_check(&server, body, body_bytes, is_genuine(&genuine.initiate, body, body_bytes))
    free(body)
    return found


# ---- the client's side ----

cdef int welcome_check(const uint8_t* body, size_t count) noexcept nogil:
    cdef Curve client = genuine.client
    cdef CurveCode code = curve_welcome_read(sodium, &client, body, count)
    hold((code == CURVE_OK) == is_genuine(&genuine.welcome, body, count))
    return code == CURVE_OK


cdef int ready_check(const uint8_t* body, size_t count, bint is_expected) noexcept nogil:
    cdef Curve client = genuine.client_second
    cdef uint8_t* opened = <uint8_t*>malloc(COMMAND_BYTES_MAX)
    cdef const uint8_t* properties
    cdef size_t properties_bytes = 0
    cdef int found = 0
    cdef CurveCode code = curve_ready_read(sodium, &client, body, count, opened, &properties, &properties_bytes)
    hold((code == CURVE_OK) == is_expected)
    if code == CURVE_OK:
        hold(lies_within(properties, properties_bytes, opened, count))
        found = properties_check(properties, properties_bytes)
    free(opened)
    return found


# READY of a server with genuine keys that says `properties`.
cdef int ready_sealed(const uint8_t* properties, size_t count) noexcept nogil:
    cdef Curve server = genuine.server_last
    cdef Command made
    command_end(&made, curve_ready_write(
        sodium, &server, made.frame, properties, min(count, <size_t>PROPERTIES_BYTES_MAX)
    ))
    return ready_check(made.body, made.count, True)


# WELCOME of a server with genuine keys that sends `secret` for S' and the cookie: any S' is good but those of low
# order, with which no INITIATE is written either.
cdef int welcome_of_secret(const uint8_t* secret, size_t count) noexcept nogil:
    cdef Curve client = genuine.client
    cdef CurveCode code
    cdef uint8_t[NONCE_BYTES] nonce
    cdef uint8_t[128] padded
    cdef uint8_t[CURVE_WELCOME_BYTES] body
    cdef uint8_t[CURVE_WRITTEN_MAX] frame
    memset(padded, 0, 128)
    memcpy(padded, secret, min(count, <size_t>128))
    memcpy(body, genuine.welcome.body, 24)
    nonce_join(nonce, b"WELCOME-", 8, body + 8)
    sodium.box(body + 24, padded, 128, nonce, genuine.client.shared)
    code = curve_welcome_read(sodium, &client, body, CURVE_WELCOME_BYTES)
    hold(code == CURVE_OK or code == CURVE_FORGED)
    hold((curve_initiate_write(sodium, &client, frame, frame, 0) != 0) == (code == CURVE_OK))
    return code == CURVE_OK


cdef public int fuzz_curve_client(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef uint8_t* body
    cdef size_t body_bytes
    cdef int attack, found
    if count == 0:
        return 0
    attack = bytes[0] % ATTACKS
    bytes += 1
    count -= 1
    if attack == RAW_FIRST:
        return welcome_check(bytes, count)
    if attack == RAW_SECOND:
        return ready_check(bytes, count, is_genuine(&genuine.ready, bytes, count))
    if attack == SEALED_PROPERTIES:
        return ready_sealed(bytes, count)
    if attack == SEALED_SECRET:
        return welcome_of_secret(bytes, count)
    if attack == PATCHED_FIRST:
        body = command_patched(&genuine.welcome, bytes, count, &body_bytes)
        found = welcome_check(body, body_bytes)
    else:
        body = command_patched(&genuine.ready, bytes, count, &body_bytes)
        found = ready_check(body, body_bytes, is_genuine(&genuine.ready, body, body_bytes))
    free(body)
    return found


# ---- boxes ----

# The secret of a box's body, opened in pieces of `step` bytes. 1: genuine; `target` has it.
cdef bint opened_in_pieces(
    const uint8_t* key, const uint8_t* body, size_t count, size_t step, uint8_t* target
) noexcept nogil:
    cdef Box box
    cdef size_t at = BOX_TAG_AT + TAG_BYTES, part
    box_begin(sodium, &box, key, body + BOX_NONCE_AT)
    while at < count:
        part = min(step, count - at)
        box_open(sodium, &box, key, target, body + at, part)
        target += part
        at += part
    return box_is_genuine(sodium, &box, body + BOX_TAG_AT)


# A body of a frame is opened in pieces as libsodium opens it whole.
cdef int box_check(const uint8_t* key, const uint8_t* body, size_t count, size_t step) noexcept nogil:
    cdef uint64_t newest = 0
    cdef uint8_t[NONCE_BYTES] nonce
    cdef size_t secret_bytes
    cdef uint8_t* ours
    cdef uint8_t* theirs
    cdef bint found
    if count < BOX_HEAD_BYTES or not box_head_read(body, &newest):
        return 0
    hold(newest > 0 and not box_head_read(body, &newest))      # replayed
    secret_bytes = count - BOX_TAG_AT - TAG_BYTES
    ours = <uint8_t*>malloc(secret_bytes)
    theirs = <uint8_t*>malloc(secret_bytes)
    nonce_join(nonce, b"CurveZMQMESSAGEC", 16, body + BOX_NONCE_AT)
    found = opened_in_pieces(key, body, count, step, ours)
    hold(found == (sodium.unbox(theirs, body + BOX_TAG_AT, count - BOX_TAG_AT, nonce, genuine.server_last.shared) == 0))
    hold(not found or memcmp(ours, theirs, secret_bytes) == 0)
    free(ours)
    free(theirs)
    return found


# The input closed in pieces, and opened again; with its last byte changed it is not genuine.
cdef int box_sealed(
    const uint8_t* key, const uint8_t* secret, size_t count, size_t step, uint64_t nonce
) noexcept nogil:
    cdef Box box
    cdef size_t body_bytes = BOX_TAG_AT + TAG_BYTES + count
    cdef size_t at = 0, part
    cdef uint8_t* body = <uint8_t*>malloc(body_bytes)
    box_head_write(body, nonce)
    box_begin(sodium, &box, key, body + BOX_NONCE_AT)
    while at < count:
        part = min(step, count - at)
        box_close(sodium, &box, key, body + BOX_TAG_AT + TAG_BYTES + at, secret + at, part)
        at += part
    box_seal(sodium, &box, body + BOX_TAG_AT)
    hold(box_check(key, body, body_bytes, 2 * step + 1) == (count > 0 and nonce > 0))
    body[body_bytes - 1] ^= 1
    hold(not box_check(key, body, body_bytes, step))
    free(body)
    return 1


# How (1), size of the pieces (2), then a body, or a secret.
cdef public int fuzz_box(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef uint8_t[KEY_BYTES] key, outbound
    cdef size_t step
    if count < 3:
        return 0
    curve_keys(sodium, &genuine.server_last, True, key, outbound)
    step = (bytes[1] | <size_t>bytes[2] << 8) % 20000 + 1
    if bytes[0] % 2 == 0:
        return box_check(key, bytes + 3, count - 3, step)
    return box_sealed(key, bytes + 3, count - 3, step, bytes[0] // 2)
