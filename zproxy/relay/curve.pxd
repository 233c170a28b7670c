"""Curve: CURVE's handshake (RFC 26), both sides of it. The messages after it: box.pxd.

    client                                  server
      ── HELLO    C', box of zeros (C'→S) ──►        curve_hello_write    curve_hello_read
      ◄─ WELCOME  box of S' and cookie (S→C') ──     curve_welcome_read   curve_welcome_write
      ── INITIATE cookie, box of C, vouch,
                  properties (C'→S') ──►             curve_initiate_write curve_initiate_read
      ◄─ READY    box of properties (S'→C') ──       curve_ready_read     curve_ready_write

C and S are the keys by which both know each other, C' and S' are made for one connection and forgotten with it: who
steals C or S later reads nothing of before.

Pure and inline: the same code is attacked alone. Readers take a command's whole body and say what they think of it;
nothing branches on what is secret.

The cookie is random: RFC 26 lets a server keep nothing between WELCOME and INITIATE; ours keeps its connection anyway.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from zproxy.relay.box cimport box_key, nonce_write
from zproxy.relay.sodium cimport KEY_BYTES, NONCE_BYTES, TAG_BYTES, Sodium
from zproxy.relay.zmtp cimport COMMAND_BYTES_MAX, FRAME_COMMAND, FRAME_LONG, command_is

cdef enum:
    CURVE_HELLO_BYTES = 200
    CURVE_WELCOME_BYTES = 168
    CURVE_INITIATE_BYTES = 257  # without properties
    CURVE_READY_BYTES = 30      # without properties
    CURVE_COOKIE_BYTES = 96
    CURVE_VOUCH_BYTES = 96
    CURVE_WRITTEN_MAX = 512     # the largest command written here, as a whole frame

cdef enum CurveCode:
    CURVE_OK
    CURVE_MALFORMED             # never valid CURVE
    CURVE_FORGED                # right in form, and closed by other keys than it should be, or changed on its way

cdef enum CurveStage:           # what is awaited
    CURVE_HELLO                 # server
    CURVE_INITIATE              # server
    CURVE_WELCOME               # client
    CURVE_READY                 # client
    CURVE_DONE

cdef struct Curve:              # one handshake; whoever holds it wipes it
    CurveStage stage
    uint8_t[KEY_BYTES] public           # S or C, ours
    uint8_t[KEY_BYTES] secret
    uint8_t[KEY_BYTES] peer             # theirs: known to a client from the start, to a server after INITIATE
    uint8_t[KEY_BYTES] brief_public     # S' or C', ours
    uint8_t[KEY_BYTES] brief_secret
    uint8_t[KEY_BYTES] peer_brief       # theirs
    uint8_t[KEY_BYTES] shared           # of C' and S; from INITIATE on of C' and S'
    uint8_t[CURVE_COOKIE_BYTES] cookie
    uint64_t nonce                      # the newest of ours
    bint has_former                     # a server's: clients may know it by the keys it had before, too
    bint is_former                      # this one does
    uint8_t[KEY_BYTES] former_public
    uint8_t[KEY_BYTES] former_secret


# ---- frames and nonces ----

# A command of `count` bytes as a frame: where its body goes. `*frame_bytes`: of the whole frame.
cdef inline uint8_t* curve_frame(uint8_t* target, size_t count, size_t* frame_bytes) noexcept nogil:
    target[0] = FRAME_COMMAND
    if count <= 255:
        target[1] = <uint8_t>count
        frame_bytes[0] = 2 + count
        return target + 2
    target[0] |= FRAME_LONG
    nonce_write(target + 1, count)      # big-endian, as sizes are
    frame_bytes[0] = 9 + count
    return target + 9


# 16 constant bytes and 8 that were sent, or 8 and 16.
cdef inline void nonce_join(uint8_t* nonce, const char* constant, size_t count, const uint8_t* sent) noexcept nogil:
    memcpy(nonce, constant, count)
    memcpy(nonce + count, sent, NONCE_BYTES - count)


# Our next nonce, written where it is sent, and as a whole.
cdef inline void nonce_next(Curve* curve, const char* constant, uint8_t* sent, uint8_t* nonce) noexcept nogil:
    curve.nonce += 1
    nonce_write(sent, curve.nonce)
    nonce_join(nonce, constant, 16, sent)


# ---- the server's side ----

cdef inline void curve_serve(Curve* curve, const uint8_t* public, const uint8_t* secret) noexcept nogil:
    memset(curve, 0, sizeof(Curve))
    memcpy(curve.public, public, KEY_BYTES)
    memcpy(curve.secret, secret, KEY_BYTES)
    curve.stage = CURVE_HELLO


# Before HELLO: it may be closed for these keys, too.
cdef inline void curve_serve_former(Curve* curve, const uint8_t* public, const uint8_t* secret) noexcept nogil:
    curve.has_former = True
    memcpy(curve.former_public, public, KEY_BYTES)
    memcpy(curve.former_secret, secret, KEY_BYTES)


# Is it closed for S? A key that would make any secret guessable is closed for nobody.
cdef inline bint curve_hello_opens(const Sodium* sodium, Curve* curve, const uint8_t* body) noexcept nogil:
    cdef uint8_t[NONCE_BYTES] nonce
    cdef uint8_t[64] zeros
    nonce_join(nonce, b"CurveZMQHELLO---", 16, body + 112)
    if sodium.share(curve.shared, curve.peer_brief, curve.secret) != 0:
        return False
    return sodium.unbox(zeros, body + 120, 80, nonce, curve.shared) == 0


# From now on S is what it was before.
cdef inline void curve_step_back(Curve* curve) noexcept nogil:
    curve.is_former = True
    memcpy(curve.public, curve.former_public, KEY_BYTES)
    memcpy(curve.secret, curve.former_secret, KEY_BYTES)


cdef inline CurveCode curve_hello_read(
    const Sodium* sodium, Curve* curve, const uint8_t* body, size_t count
) noexcept nogil:
    cdef uint8_t[64] zeros
    if count != CURVE_HELLO_BYTES or not command_is(body, count, b"HELLO", 5) or body[6] != 1 or body[7] != 0:
        return CURVE_MALFORMED
    memset(zeros, 0, 64)
    if memcmp(body + 8, zeros, 64) != 0 or memcmp(body + 72, zeros, 8) != 0:
        return CURVE_MALFORMED          # padding, so that HELLO is larger than WELCOME
    memcpy(curve.peer_brief, body + 80, KEY_BYTES)
    if not curve_hello_opens(sodium, curve, body):
        if not curve.has_former:
            return CURVE_FORGED
        curve_step_back(curve)
        if not curve_hello_opens(sodium, curve, body):
            return CURVE_FORGED
    curve.stage = CURVE_INITIATE
    return CURVE_OK


# The frame's bytes, at most CURVE_WRITTEN_MAX.
cdef inline size_t curve_welcome_write(const Sodium* sodium, Curve* curve, uint8_t* target) noexcept nogil:
    cdef size_t frame_bytes = 0
    cdef uint8_t* body = curve_frame(target, CURVE_WELCOME_BYTES, &frame_bytes)
    cdef uint8_t[NONCE_BYTES] nonce
    cdef uint8_t[128] secret            # S' and the cookie
    sodium.keypair(curve.brief_public, curve.brief_secret)
    sodium.random(curve.cookie, CURVE_COOKIE_BYTES)
    memcpy(secret, curve.brief_public, KEY_BYTES)
    memcpy(secret + KEY_BYTES, curve.cookie, CURVE_COOKIE_BYTES)
    memcpy(body, <const uint8_t*>b"\x07WELCOME", 8)
    sodium.random(body + 8, 16)
    nonce_join(nonce, b"WELCOME-", 8, body + 8)
    sodium.box(body + 24, secret, 128, nonce, curve.shared)
    return frame_bytes


# Does C vouch for C', and mean us?
cdef inline bint curve_vouch_is_genuine(const Sodium* sodium, Curve* curve, const uint8_t* vouch) noexcept nogil:
    cdef uint8_t[NONCE_BYTES] nonce
    cdef uint8_t[KEY_BYTES] shared
    cdef uint8_t[2 * KEY_BYTES] said
    cdef bint is_genuine
    nonce_join(nonce, b"VOUCH---", 8, vouch)
    is_genuine = (
        sodium.share(shared, curve.peer, curve.brief_secret) == 0
        and sodium.unbox(said, vouch + 16, 80, nonce, shared) == 0
        and sodium.compare(said, curve.peer_brief, KEY_BYTES) == 0
        and sodium.compare(said + KEY_BYTES, curve.public, KEY_BYTES) == 0
    )
    sodium.wipe(shared, KEY_BYTES)
    return is_genuine


# `opened` has room for COMMAND_BYTES_MAX; the properties are there, from `*properties` on, when it is CURVE_OK.
cdef inline CurveCode curve_initiate_read(
    const Sodium* sodium, Curve* curve, const uint8_t* body, size_t count, uint8_t* opened, const uint8_t** properties,
    size_t* properties_bytes
) noexcept nogil:
    cdef uint8_t[NONCE_BYTES] nonce
    cdef size_t secret_bytes
    if not CURVE_INITIATE_BYTES <= count <= COMMAND_BYTES_MAX or not command_is(body, count, b"INITIATE", 8):
        return CURVE_MALFORMED
    if sodium.compare(body + 9, curve.cookie, CURVE_COOKIE_BYTES) != 0:
        return CURVE_FORGED
    if sodium.share(curve.shared, curve.peer_brief, curve.brief_secret) != 0:
        return CURVE_FORGED
    nonce_join(nonce, b"CurveZMQINITIATE", 16, body + 105)
    if sodium.unbox(opened, body + 113, count - 113, nonce, curve.shared) != 0:
        return CURVE_FORGED
    secret_bytes = count - 113 - TAG_BYTES
    memcpy(curve.peer, opened, KEY_BYTES)
    if not curve_vouch_is_genuine(sodium, curve, opened + KEY_BYTES):
        return CURVE_FORGED
    properties[0] = opened + KEY_BYTES + CURVE_VOUCH_BYTES
    properties_bytes[0] = secret_bytes - KEY_BYTES - CURVE_VOUCH_BYTES
    return CURVE_OK


cdef inline size_t curve_ready_write(
    const Sodium* sodium, Curve* curve, uint8_t* target, const uint8_t* properties, size_t count
) noexcept nogil:
    cdef size_t frame_bytes = 0
    cdef uint8_t* body = curve_frame(target, CURVE_READY_BYTES + count, &frame_bytes)
    cdef uint8_t[NONCE_BYTES] nonce
    memcpy(body, <const uint8_t*>b"\x05READY", 6)
    nonce_next(curve, b"CurveZMQREADY---", body + 6, nonce)
    sodium.box(body + 14, properties, count, nonce, curve.shared)
    curve.stage = CURVE_DONE
    return frame_bytes


# ---- the client's side ----

cdef inline void curve_dial(
    Curve* curve, const uint8_t* public, const uint8_t* secret, const uint8_t* server
) noexcept nogil:
    curve_serve(curve, public, secret)
    memcpy(curve.peer, server, KEY_BYTES)
    curve.stage = CURVE_WELCOME


# 0: the server's key is none that anything can be closed for.
cdef inline size_t curve_hello_write(const Sodium* sodium, Curve* curve, uint8_t* target) noexcept nogil:
    cdef size_t frame_bytes = 0
    cdef uint8_t* body = curve_frame(target, CURVE_HELLO_BYTES, &frame_bytes)
    cdef uint8_t[NONCE_BYTES] nonce
    cdef uint8_t[64] zeros
    sodium.keypair(curve.brief_public, curve.brief_secret)
    if sodium.share(curve.shared, curve.peer, curve.brief_secret) != 0:
        return 0
    memset(zeros, 0, 64)
    memset(body, 0, CURVE_HELLO_BYTES)
    memcpy(body, <const uint8_t*>b"\x05HELLO\x01", 7)
    memcpy(body + 80, curve.brief_public, KEY_BYTES)
    nonce_next(curve, b"CurveZMQHELLO---", body + 112, nonce)
    sodium.box(body + 120, zeros, 64, nonce, curve.shared)
    return frame_bytes


cdef inline CurveCode curve_welcome_read(
    const Sodium* sodium, Curve* curve, const uint8_t* body, size_t count
) noexcept nogil:
    cdef uint8_t[NONCE_BYTES] nonce
    cdef uint8_t[128] secret
    if count != CURVE_WELCOME_BYTES or not command_is(body, count, b"WELCOME", 7):
        return CURVE_MALFORMED
    nonce_join(nonce, b"WELCOME-", 8, body + 8)
    if sodium.unbox(secret, body + 24, 144, nonce, curve.shared) != 0:
        return CURVE_FORGED
    memcpy(curve.peer_brief, secret, KEY_BYTES)
    memcpy(curve.cookie, secret + KEY_BYTES, CURVE_COOKIE_BYTES)
    if sodium.share(curve.shared, curve.peer_brief, curve.brief_secret) != 0:
        return CURVE_FORGED
    curve.stage = CURVE_READY
    return CURVE_OK


# At most CURVE_WRITTEN_MAX with properties of ours. 0: S' is none that anything can be closed for.
cdef inline size_t curve_initiate_write(
    const Sodium* sodium, Curve* curve, uint8_t* target, const uint8_t* properties, size_t count
) noexcept nogil:
    cdef size_t frame_bytes = 0
    cdef uint8_t* body = curve_frame(target, CURVE_INITIATE_BYTES + count, &frame_bytes)
    cdef uint8_t[NONCE_BYTES] nonce
    cdef uint8_t[KEY_BYTES] shared
    cdef uint8_t[2 * KEY_BYTES] vouched
    cdef uint8_t[CURVE_WRITTEN_MAX] secret
    if sodium.share(shared, curve.peer_brief, curve.secret) != 0:
        return 0
    memcpy(vouched, curve.brief_public, KEY_BYTES)
    memcpy(vouched + KEY_BYTES, curve.peer, KEY_BYTES)
    memcpy(secret, curve.public, KEY_BYTES)
    sodium.random(secret + KEY_BYTES, 16)
    nonce_join(nonce, b"VOUCH---", 8, secret + KEY_BYTES)
    sodium.box(secret + KEY_BYTES + 16, vouched, 2 * KEY_BYTES, nonce, shared)
    sodium.wipe(shared, KEY_BYTES)
    memcpy(secret + KEY_BYTES + CURVE_VOUCH_BYTES, properties, count)
    memcpy(body, <const uint8_t*>b"\x08INITIATE", 9)
    memcpy(body + 9, curve.cookie, CURVE_COOKIE_BYTES)
    nonce_next(curve, b"CurveZMQINITIATE", body + 105, nonce)
    sodium.box(body + 113, secret, KEY_BYTES + CURVE_VOUCH_BYTES + count, nonce, curve.shared)
    return frame_bytes


cdef inline CurveCode curve_ready_read(
    const Sodium* sodium, Curve* curve, const uint8_t* body, size_t count, uint8_t* opened, const uint8_t** properties,
    size_t* properties_bytes
) noexcept nogil:
    cdef uint8_t[NONCE_BYTES] nonce
    if not CURVE_READY_BYTES <= count <= COMMAND_BYTES_MAX or not command_is(body, count, b"READY", 5):
        return CURVE_MALFORMED
    nonce_join(nonce, b"CurveZMQREADY---", 16, body + 6)
    if sodium.unbox(opened, body + 14, count - 14, nonce, curve.shared) != 0:
        return CURVE_FORGED
    properties[0] = opened
    properties_bytes[0] = count - 14 - TAG_BYTES
    curve.stage = CURVE_DONE
    return CURVE_OK


# ---- afterwards ----

# The keys of the boxes that come and go. `is_server`: ours was the server's side.
cdef inline void curve_keys(
    const Sodium* sodium, const Curve* curve, bint is_server, uint8_t* inbound, uint8_t* outbound
) noexcept nogil:
    box_key(sodium, inbound, curve.shared, b"CurveZMQMESSAGEC" if is_server else b"CurveZMQMESSAGES")
    box_key(sodium, outbound, curve.shared, b"CurveZMQMESSAGES" if is_server else b"CurveZMQMESSAGEC")
