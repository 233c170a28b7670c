"""Skim from Python, for zproxy.content and the tests; see skim.pxd, which is the same code."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint64_t

from zproxy.errors import MalformedContent

# The words for each SkimFault, in its order.
FAULT_WORDS = (
    "",
    "it ends inside a value",
    "C1, which MessagePack does not have",
    "an extension type, which a content cannot have",
    f"it is deeper than {LEVELS_MAX} levels",
    "it is not an array of a body and a list of tensors",
    "there are bytes behind it",
)

DEPTH_MAX = LEVELS_MAX


def body_span(content):
    """(begin, end) of the body within a content; behind it is the list of tensors, if there is one.

    Raises MalformedContent for what is not whole, too deep, or has an extension type, and says at which byte.
    """
    cdef uint64_t begin = 0, end = 0
    cdef SkimFault fault
    cdef Py_buffer buffer
    PyObject_GetBuffer(content, &buffer, PyBUF_SIMPLE)
    fault = skim_content(<const uint8_t*>buffer.buf, buffer.len, &begin, &end) if buffer.len else SKIM_SHORT
    PyBuffer_Release(&buffer)
    if fault != SKIM_NONE:
        raise MalformedContent("content", f"at byte {end} of {buffer.len}: {FAULT_WORDS[<int>fault]}")
    return begin, end
