"""Skim: MessagePack read over without making anything of it, before somebody else makes objects of it.

    [body, [[name, dtype, shape], …]]
     └────┘ skim_value: complete, no deeper than LEVELS_MAX, no extension type

Pure and inline like envelope.pxd: no allocation, no recursion, each length checked against what is left before it is
used. Decoders differ in what they take (extension types become objects, depth becomes recursion); this is what the
protocol takes, whoever decodes.
"""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    LEVELS_MAX = 100            # arrays and maps within each other

cdef enum SkimFault:            # why it is no content; FAULT_WORDS in skim.pyx has the words, in this order
    SKIM_NONE
    SKIM_SHORT                  # it ends inside a value
    SKIM_CODE                   # C1, which no MessagePack has
    SKIM_EXTENSION
    SKIM_DEEP
    SKIM_ARRAY                  # content is not an array of one or two
    SKIM_LONG                   # bytes behind the content

cdef struct Token:              # what stands at one place
    uint64_t bytes              # its own, an array's or a map's without what is in it
    uint64_t values             # within an array or map: keys count, too
    bint is_container


# A big-endian number of `width` bytes.
cdef inline uint64_t skim_number(const uint8_t* at, unsigned width) noexcept nogil:
    cdef uint64_t number = 0
    cdef unsigned index
    for index in range(width):
        number = number << 8 | at[index]
    return number


# Reads the token at `at`, of which `left` bytes are there; all of its own bytes are, if it says SKIM_NONE.
cdef inline SkimFault skim_token(const uint8_t* at, uint64_t left, Token* token) noexcept nogil:
    cdef uint8_t code
    cdef unsigned width = 0     # of the length behind the code
    cdef uint64_t length
    token.bytes, token.values, token.is_container = 1, 0, False
    if left == 0:
        return SKIM_SHORT
    code = at[0]
    if code <= 0x7F or code >= 0xE0 or code == 0xC0 or code == 0xC2 or code == 0xC3:
        return SKIM_NONE
    if code == 0xC1:
        return SKIM_CODE
    if 0xC7 <= code <= 0xC9 or 0xD4 <= code <= 0xD8:
        return SKIM_EXTENSION
    if code <= 0x9F:
        token.is_container = True
        token.values = (code & 0x0F) * (2 if code <= 0x8F else 1)
        return SKIM_NONE
    if code <= 0xBF:
        token.bytes += code & 0x1F
    elif code == 0xCA or code == 0xCB:
        token.bytes += 4 if code == 0xCA else 8
    elif 0xCC <= code <= 0xD3:
        token.bytes += 1 << (code & 0x03)
    else:                       # bin C4–C6, str D9–DB: 1, 2, 4 bytes of length; array DC, DD, map DE, DF: 2, 4
        width = 1 << (code - 0xC4) if code <= 0xC6 else 1 << (code - 0xD9) if code <= 0xDB else 2 << (code & 0x01)
        if left <= width:
            return SKIM_SHORT
        length = skim_number(at + 1, width)
        token.bytes += width
        if code >= 0xDC:
            token.is_container = True
            token.values = length * (2 if code >= 0xDE else 1)
        else:
            token.bytes += length
    return SKIM_SHORT if token.bytes > left else SKIM_NONE


# Steps over the value at `*offset`, which moves behind it, or to where the fault is.
cdef inline SkimFault skim_value(const uint8_t* bytes, uint64_t count, uint64_t* offset) noexcept nogil:
    cdef uint64_t[LEVELS_MAX + 1] due   # values still to come on each level
    cdef unsigned level = 0
    cdef Token token
    cdef SkimFault fault
    due[0] = 1
    while True:
        while due[level] == 0:
            if level == 0:
                return SKIM_NONE
            level -= 1
        fault = skim_token(bytes + offset[0], count - offset[0], &token)
        if fault != SKIM_NONE:
            return fault
        due[level] -= 1
        if token.is_container:
            if level == LEVELS_MAX:
                return SKIM_DEEP
            if token.values > count - offset[0]:    # each has a byte at least: no counting of what cannot be there
                return SKIM_SHORT
            level += 1
            due[level] = token.values
        offset[0] += token.bytes


# Where the body of a content begins and ends; behind it is the list of tensors, or the end. `*end` is where a fault is.
cdef inline SkimFault skim_content(
    const uint8_t* bytes, uint64_t count, uint64_t* begin, uint64_t* end
) noexcept nogil:
    cdef Token token
    cdef uint64_t behind
    cdef SkimFault fault = skim_token(bytes, count, &token)
    begin[0] = end[0] = 0
    if fault != SKIM_NONE:
        return fault
    # 0x8F and below, 0xDE and above are maps.
    if not token.is_container or not 1 <= token.values <= 2 or bytes[0] <= 0x8F or bytes[0] >= 0xDE:
        return SKIM_ARRAY
    begin[0] = end[0] = token.bytes
    fault = skim_value(bytes, count, end)
    if fault != SKIM_NONE:
        return fault
    behind = end[0]
    if token.values == 2:
        fault = skim_value(bytes, count, &behind)
    if fault == SKIM_NONE and behind != count:
        fault = SKIM_LONG
    if fault != SKIM_NONE:
        end[0] = behind
    return fault
