"""Writes the vectors beside it, from docs/protocol.md alone: `python tests/vectors/make_vectors.py`.

Imports nothing of zproxy, so that a fault of zproxy's cannot get into what it is held to. README.md says how to read
what it writes. MessagePack is written here by hand: what is malformed has no library to write it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

KINDS = {
    "WELCOME": 1, "HELLO": 2, "READY": 3, "CREDIT": 4, "GOODBYE": 5, "ACCEPTED": 6, "REQUEST": 16, "POST": 17,
    "REPLY": 18, "ERROR": 19, "CANCEL": 20, "PROGRESS": 21, "CHUNK": 32, "WINDOW": 33,
}  # fmt: skip

RESENT, WANTS_PROGRESS, WANTS_ACCEPTED, HAS_STEP, HAS_PROGRESS = 0x0001, 0x0002, 0x0004, 0x0008, 0x0010
NOT_IDEMPOTENT, RETRY_ERRORS, ORDERED, LAST, SHARED = 0x0100, 0x0200, 0x0400, 0x0800, 0x1000

MAGIC = b"ZPX\x01"
SENTENCE, AGENT, TRACESTATE, TIMES, YOURS = 1, 2, 3, 4, 0x8000
U16, U32, U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
NO_TRACE = bytes(25)
TRACE = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736" "00f067aa0ba902b7" "01")

# The fields in the order of the table, with what stands in the gaps.
HEAD = struct.Struct("<4s BB HHH B x H QQQ II QQQQ f 25s BB x Q I 4x")
WIDE = ("incarnation", "sequence", "lease", "key_hash", "stream", "offset", "step", "total")

# MessagePack's integers that do not fit into their code.
UNSIGNED = ((0xCC, "B"), (0xCD, "H"), (0xCE, "I"), (0xCF, "Q"))
SIGNED = ((0xD0, "b"), (0xD1, "h"), (0xD2, "i"), (0xD3, "q"))

Vector = dict[str, Any]


# ---- envelopes ----


def tlvs_of(entries: Sequence[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in entries)


def head_of(fields: Mapping[str, Any], service: bytes, name: bytes, tlvs: bytes) -> bytes:
    numbers = {"priority": 1, "trace": NO_TRACE, "progress": 0.0, **fields}

    def of(field: str) -> Any:
        return numbers.get(field, 0)

    return HEAD.pack(
        MAGIC, of("kind"), of("priority"), of("flags"), of("code"), of("attempt"), len(service), len(tlvs),
        of("incarnation"), of("sequence"), of("lease"), of("remaining_ms"), of("credit"), of("key_hash"), of("stream"),
        of("offset"), of("step"), of("progress"), of("trace"), of("max_attempts"), len(name), of("total"),
        of("conversation"),
    )  # fmt: skip


def frame_of(
    kind: str, service: str = "", name: str = "", tlvs: Sequence[tuple[int, bytes]] = (), **fields: Any
) -> bytes:
    """Frame 0."""
    service_bytes, name_bytes, all_tlvs = service.encode(), name.encode(), tlvs_of(tlvs)
    head = head_of({"kind": KINDS[kind], **fields}, service_bytes, name_bytes, all_tlvs)
    return head + service_bytes + name_bytes + all_tlvs


def envelope(
    title: str, kind: str, service: str = "", name: str = "", tlvs: Sequence[tuple[int, bytes]] = (), **fields: Any
) -> Vector:
    """A vector: every field by name, whether it was given or not, and the frame."""
    shown: dict[str, Any] = {"kind": KINDS[kind], "service": service, "name": name}
    for field in (
        "priority", "flags", "code", "attempt", "incarnation", "sequence", "lease", "remaining_ms", "credit",
        "key_hash", "stream", "offset", "step", "progress", "trace", "max_attempts", "total", "conversation",
    ):  # fmt: skip
        value = fields.get(field, {"priority": 1, "progress": 0.0, "trace": NO_TRACE}.get(field, 0))
        shown[field] = str(value) if field in WIDE else value.hex() if isinstance(value, bytes) else value
    shown["tlvs"] = [[number, value.hex()] for number, value in tlvs]
    return {"title": title, "kind": kind, "fields": shown, "hex": frame_of(kind, service, name, tlvs, **fields).hex()}


ASKED: dict[str, Any] = {"incarnation": 0x1122334455667788, "sequence": 7, "conversation": 0x0A0B0C0D}
LEASED: dict[str, Any] = {**ASKED, "lease": 71}
LONG = "a-Z_0/9." * 8


def envelopes() -> list[Vector]:
    return [
        envelope("zproxy begins a conversation", "WELCOME", conversation=U32),
        envelope("a node, with the software it runs", "HELLO", name="rank7", tlvs=[(AGENT, b"zproxy-python/0.2")],
                 incarnation=1, conversation=3),
        envelope("a node of a name of 64 bytes that can share memory", "HELLO", name=LONG, flags=SHARED,
                 incarnation=U64, conversation=3),
        envelope("a worker", "READY", name="master/gpu-0", incarnation=9, credit=2, conversation=4),
        envelope("a worker that pauses, with all the credit there is", "READY", name="m", incarnation=9, credit=65535,
                 conversation=4),
        envelope("another credit", "CREDIT", credit=4, conversation=4),
        envelope("a pause", "CREDIT", credit=0, conversation=4),
        envelope("the last word of either", "GOODBYE", conversation=4),
        envelope("HELLO or READY is accepted", "ACCEPTED", conversation=4),
        envelope("a POST is with a worker", "ACCEPTED", **ASKED),
        envelope("a request", "REQUEST", service="gradients", remaining_ms=30000, **ASKED),
        envelope("a request that is resent, with all a node may say", "REQUEST", service=LONG, priority=2,
                 flags=RESENT | WANTS_PROGRESS | HAS_STEP | HAS_PROGRESS | NOT_IDEMPOTENT | RETRY_ERRORS | ORDERED,
                 remaining_ms=0x7FFFFFFF, key_hash=U64, step=U64, progress=62.5, trace=TRACE, max_attempts=255,
                 tlvs=[(TRACESTATE, b"vendor=1"), (YOURS, b""), (0xFFFF, bytes(range(256)))], **ASKED),
        envelope("the same as a worker gets it", "REQUEST", service="gradients", name="rank7", attempt=2,
                 remaining_ms=1, **LEASED),
        envelope("the largest envelope", "REQUEST", service=LONG, name=LONG, tlvs=[(YOURS, bytes(4092))],
                 remaining_ms=1, **LEASED),
        envelope("a post", "POST", service="log", priority=0, flags=WANTS_ACCEPTED, remaining_ms=1000, **ASKED),
        envelope("a worker's reply", "REPLY", **LEASED),
        envelope("the same as a node gets it", "REPLY", name="master/gpu-0", attempt=1,
                 tlvs=[(TIMES, struct.pack("<II", 120, 4500))], **ASKED),
        envelope("a worker's error", "ERROR", code=15, tlvs=[(SENTENCE, "没有这一步".encode())], **LEASED),
        envelope("nobody has room: try again in 250 ms", "ERROR", code=8, remaining_ms=250,
                 tlvs=[(SENTENCE, b"the queue is full")], **ASKED),
        envelope("about a message nobody could read", "ERROR", code=1, conversation=3),
        envelope("an application's own code", "ERROR", code=0x8001, attempt=U16, **ASKED),
        envelope("a node gives up", "CANCEL", **ASKED),
        envelope("zproxy takes a lease away", "CANCEL", **LEASED),
        envelope("half done", "PROGRESS", flags=HAS_PROGRESS | HAS_STEP, progress=50.0, step=3, **LEASED),
        envelope("the last megabyte of a stream", "CHUNK", flags=LAST, attempt=1, stream=1, offset=1 << 40,
                 total=(1 << 40) + (1 << 20), **LEASED),
        envelope("a chunk of a stream that ends nobody knows where", "CHUNK", attempt=1, stream=64, offset=0,
                 total=U64, **ASKED),
        envelope("up to here may be sent", "WINDOW", attempt=1, stream=1, offset=4 << 20, **ASKED),
    ]  # fmt: skip


def fnv(key: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ byte) * 0x100000001B3 & U64
    return value or 1


def keys() -> list[Vector]:
    hashes_to_zero = bytes.fromhex("d56bb95342870836")
    named = (b"", b"a", b"rank7", "层/1".encode(), bytes(8), hashes_to_zero)
    return [{"key": key.hex(), "key_hash": str(fnv(key))} for key in named]


# ---- services of READY ----


def offer_of(service: str, lease_ms: int = 0, flags: int = 0) -> bytes:
    return struct.pack("<BBxxI", flags, len(service), lease_ms) + service.encode()


def offers() -> list[Vector]:
    lists: dict[str, list[tuple[str, int, int]]] = {
        "none": [],
        "one": [("gradients", 30000, 0)],
        "not idempotent, and any other": [("checkpoint", 0, 1), ("*", U32, 0)],
        "a name of 64 bytes": [(LONG, 1, 0)],
    }
    return [
        {
            "title": title,
            "offers": [
                {"service": service, "lease_ms": lease_ms, "flags": flags} for service, lease_ms, flags in listed
            ],
            "hex": b"".join(offer_of(*each) for each in listed).hex(),
        }
        for title, listed in lists.items()
    ]


# ---- MessagePack ----


def sized(value_bytes: int, short: tuple[int, int] | None, codes: Sequence[tuple[int, str]]) -> bytes:
    """The shortest head of so many: within the code, or behind one of the codes."""
    if short is not None and value_bytes <= short[1]:
        return bytes([short[0] | value_bytes])
    for code, form in codes:
        if value_bytes < 1 << 8 * struct.calcsize(form):
            return bytes([code]) + struct.pack(">" + form, value_bytes)
    raise ValueError(f"{value_bytes} is too much for MessagePack")


def integer(value: int) -> bytes:
    if -32 <= value <= 127:
        return struct.pack("b", value)
    for code, form in UNSIGNED if value > 0 else SIGNED:
        bits = 8 * struct.calcsize(form)
        if value < 1 << bits if value > 0 else value >= -(1 << bits - 1):
            return bytes([code]) + struct.pack(">" + form, value)
    raise ValueError(f"{value} is beyond MessagePack")


def packed(value: Any) -> bytes:
    """A value in the fewest bytes; floats always in 8."""
    if value is None or value is False or value is True:
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return sized(len(text), (0xA0, 31), ((0xD9, "B"), (0xDA, "H"), (0xDB, "I"))) + text
    if isinstance(value, bytes):
        return sized(len(value), None, ((0xC4, "B"), (0xC5, "H"), (0xC6, "I"))) + value
    if isinstance(value, dict):
        pairs = b"".join(packed(key) + packed(item) for key, item in value.items())
        return sized(len(value), (0x80, 15), ((0xDE, "H"), (0xDF, "I"))) + pairs
    return sized(len(value), (0x90, 15), ((0xDC, "H"), (0xDD, "I"))) + b"".join(map(packed, value))


# ---- contents ----


def shown(value: Any) -> Any:
    """A body as JSON; what JSON lacks is said in a map of one key that begins with $."""
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, float):
        return {"$float": repr(value)}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 53:
        return {"$int": str(value)}
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


def tensor(name: str, dtype: str, shape: list[int], frame: bytes, values: list[Any], order: str = "C") -> Vector:
    return {"name": name, "dtype": dtype, "shape": shape, "order": order, "hex": frame.hex(), "values": values}


def entry_of(one: Vector) -> list[Any]:
    plain = [one["name"], one["dtype"], one["shape"]]
    return plain if one["order"] == "C" else [*plain, one["order"]]


def content(title: str, body: Any, *tensors: Vector, encoded: bytes | None = None) -> Vector:
    """A vector; `encoded`: the content in other bytes than the fewest, which is right as well."""
    whole: list[Any] = [body, [entry_of(one) for one in tensors]] if tensors else [body]
    return {
        "title": title,
        "body": shown(body),
        "tensors": list(tensors),
        "shortest": encoded is None,
        "hex": (packed(whole) if encoded is None else encoded).hex(),
    }


def nested(levels: int) -> Any:
    body: Any = None
    for _ in range(levels):
        body = [body]
    return body


def text(*words: str, count: int) -> bytes:
    """UCS-4, each filled up with zeros."""
    return b"".join(word.encode("utf-32-le").ljust(4 * count, b"\0") for word in words)


def x87(value: float) -> bytes:
    """Of a positive number, 80 bits with the fraction's one written out, in 16 bytes."""
    fraction, exponent = math.frexp(value)
    return struct.pack("<QH6x", int(fraction * (1 << 64)), exponent + 16382)


def numbers() -> list[Vector]:
    """One of each dtype."""
    whole = {"int8": "b", "int16": "h", "int32": "i", "int64": "q"}
    made = [
        content(dtype, None, tensor("a", dtype, [3], struct.pack(f"<3{form}", -1, 0, 127), [-1, 0, 127]))
        for dtype, form in whole.items()
    ]
    natural = {"uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q"}
    made += [
        content(dtype, None, tensor("a", dtype, [2], struct.pack(f"<2{form}", 1, 255), [1, 255]))
        for dtype, form in natural.items()
    ]
    made += [
        content(dtype, None, tensor("a", dtype, [2], struct.pack(f"<2{form}", 1.5, -2.0), [1.5, -2.0]))
        for dtype, form in {"float16": "e", "float32": "f", "float64": "d"}.items()
    ]
    made += [
        content(dtype, None, tensor("a", dtype, [1], struct.pack(f"<2{form}", 1.5, -2.0), [[1.5, -2.0]]))
        for dtype, form in {"complex64": "f", "complex128": "d"}.items()
    ]
    quad = struct.pack("<QQ", 0, 0x3FFF800000000000)
    return [
        *made,
        content("bool", None, tensor("a", "bool", [3], b"\0\1\1", [False, True, True])),
        content("float80", None, tensor("a", "float80", [2], x87(1.5) + x87(0.375), [1.5, 0.375])),
        content("complex160", None, tensor("a", "complex160", [1], x87(1.5) + x87(0.375), [[1.5, 0.375]])),
        content("float128", None, tensor("a", "float128", [1], quad, [1.5])),
        content("complex256", None, tensor("a", "complex256", [1], 2 * quad, [[1.5, 1.5]])),
        content("bfloat16", None, tensor("a", "bfloat16", [2], bytes.fromhex("c03f00c0"), [1.5, -2.0])),
        content("float8_e4m3fn", None, tensor("a", "float8_e4m3fn", [2], bytes.fromhex("3cc0"), [1.5, -2.0])),
        content("float8_e5m2", None, tensor("a", "float8_e5m2", [2], bytes.fromhex("3ec0"), [1.5, -2.0])),
        content("float8_e4m3fnuz", None, tensor("a", "float8_e4m3fnuz", [2], bytes.fromhex("44c8"), [1.5, -2.0])),
        content("float8_e5m2fnuz", None, tensor("a", "float8_e5m2fnuz", [2], bytes.fromhex("42c4"), [1.5, -2.0])),
        content("float8_e8m0fnu", None, tensor("a", "float8_e8m0fnu", [2], bytes.fromhex("7f80"), [1.0, 2.0])),
        # Two numbers an element: a one (0010) below, a two (0100) above.
        content("float4_e2m1fn_x2", None, tensor("a", "float4_e2m1fn_x2", [1], b"\x42", [[1.0, 2.0]])),
        content("datetime64", None, tensor("a", "datetime64[ms]", [2], struct.pack("<2q", 0, -1), [0, -1])),
        content("no time", None, tensor("a", "datetime64[D]", [1], struct.pack("<q", -(1 << 63)), [None])),
        content("timedelta64", None, tensor("a", "timedelta64[ns]", [1], struct.pack("<q", 5), [5])),
        content("bytes", None, tensor("a", "bytes3", [2], b"abcd\0\0", ["616263", "64"])),
        content("text", None, tensor("a", "text2", [2], text("没有", "a", count=2), ["没有", "a"])),
    ]


def shapes() -> list[Vector]:
    six = struct.pack("<6i", *range(6))
    columns = struct.pack("<6i", 0, 3, 1, 4, 2, 5)
    return [
        content("a scalar", None, tensor("a", "int16", [], b"\x07\0", [7])),
        content("rows", None, tensor("a", "int32", [2, 3], six, list(range(6)))),
        content("columns", None, tensor("a", "int32", [2, 3], columns, list(range(6)), "F")),
        content("nothing", None, tensor("a", "float64", [0, 3], b"", [])),
        content("nothing of three sides", None, tensor("a", "float64", [4, 0, 2], b"", [])),
        content("a name of 255 bytes", None, tensor("é" * 127 + "x", "uint8", [1], b"\1", [1])),
        content("several", {"step": 3}, tensor("w", "int32", [2, 3], six, list(range(6))),
                tensor("b", "uint8", [0], b"", []), tensor("层", "bool", [1], b"\1", [True])),
        content("the order said although it is C", None, tensor("a", "uint8", [1], b"\1", [1]),
                encoded=packed([None, [["a", "uint8", [1], "C"]]])),
        content("an empty list", "body", encoded=packed(["body", []])),
    ]  # fmt: skip


def bodies() -> list[Vector]:
    integers = [0, 127, 128, 255, 256, 65535, 65536, U32, U32 + 1, U64]
    negative = [-1, -32, -33, -128, -129, -32768, -32769, -(1 << 31), -(1 << 31) - 1, -(1 << 63)]
    plain: dict[str, Any] = {
        "nothing": None,
        "truth": [True, False],
        "integers of every width": integers,
        "negative ones": negative,
        "floats": [0.0, -0.0, 1.5, 1e300, 5e-324, math.inf, -math.inf],
        "text of every width": ["", "a" * 31, "a" * 32, "é" * 128, "没有这一步"],
        "bytes of every width": [b"", b"\0", bytes(255), bytes(256)],
        "arrays of every width": [[], [0] * 15, [0] * 16],
        "maps of every width": [{}, {str(key): key for key in range(15)}, {str(key): key for key in range(16)}],
        "a progress report": {"progress": 50.0, "step": 3},
        "a hundred levels": nested(100),
    }
    longer: list[Any] = [None, 1, "a", [], {}, b"a", 1.5]
    long_form = bytes.fromhex(
        "dd00000001 dc0007 c0 cf0000000000000001 db0000000161 dd00000000 df00000000 c60000000161 ca3fc00000"
    )
    return [
        *(content(title, body) for title, body in plain.items()),
        content("every length longer than it need be", longer, encoded=long_form),
    ]


# ---- what is malformed ----


def malformed_envelopes() -> list[Vector]:
    good = bytearray(frame_of("REQUEST", service="gradients", remaining_ms=1, **ASKED))

    def but(**places: bytes) -> bytes:
        """The good one, with other bytes at some offsets."""
        frame = bytearray(good)
        for place, changed in places.items():
            at = int(place[1:])
            frame[at : at + len(changed)] = changed
        return bytes(frame)

    zero = bytes(8)
    cases: list[tuple[str, str, bytes]] = [
        ("nothing", "length", b""),
        ("127 bytes", "length", bytes(good[:127])),
        ("its service is cut off", "length", bytes(good[:-1])),
        ("a byte behind it", "length", bytes(good) + b"\0"),
        ("a service of 65 bytes", "length", but(_12=b"\x41") + b"a" * 56),
        ("a name of 65 bytes", "length", but(_110=b"\x41") + b"a" * 65),
        ("4,097 bytes of TLVs", "length", but(_14=b"\x01\x10") + bytes(4097)),
        ("version 2", "magic", but(_3=b"\2")),
        ("plain text", "magic", b"GET / HTTP/1.1\r\n".ljust(128)),
        *((f"kind {kind}", "kind", but(_4=bytes([kind]))) for kind in (0, 7, 15, 22, 31, 34, 255)),
        ("priority 3", "priority", but(_5=b"\3")),
        *((f"flag {1 << bit:#06x}", "flag", but(_6=struct.pack("<H", 1 << bit))) for bit in (13, 14, 15)),
        ("a space in the service", "character", but(_130=b" ")),
        ("a zero byte in the service", "character", but(_130=b"\0")),
        ("UTF-8 in the service", "character", but(_130="é".encode())),
        ("a * in the service of a request", "character", but(_130=b"*")),
        ("a colon in the name", "character", frame_of("HELLO", name="rank:7", incarnation=1)),
        ("a request without service", "field", frame_of("REQUEST", remaining_ms=1, **ASKED)),
        ("a request without incarnation", "field", but(_16=zero)),
        ("a request without sequence", "field", but(_24=zero)),
        ("a request without time", "field", but(_40=zero[:4])),
        ("a request with more time than there is", "field", but(_40=struct.pack("<I", 1 << 31))),
        ("an ordered request without key", "field", but(_6=struct.pack("<H", ORDERED))),
        ("a post without time", "field", frame_of("POST", service="log", **ASKED)),
        ("a nameless node", "field", frame_of("HELLO", incarnation=1)),
        ("a node without incarnation", "field", frame_of("HELLO", name="rank7")),
        ("a nameless worker", "field", frame_of("READY", incarnation=1, credit=1)),
        ("a worker with too much credit", "field", frame_of("READY", name="m", incarnation=1, credit=65536)),
        ("too much credit", "field", frame_of("CREDIT", credit=65536)),
        ("a reply without sequence", "field", frame_of("REPLY", incarnation=1, lease=1)),
        ("an error without code", "field", frame_of("ERROR", **ASKED)),
        ("a cancel without incarnation", "field", frame_of("CANCEL", sequence=1)),
        ("a chunk of no stream", "field", frame_of("CHUNK", **LEASED)),
    ]
    return [{"title": title, "reason": reason, "hex": frame.hex()} for title, reason, frame in cases]


def malformed_offers() -> list[Vector]:
    cases = {
        "cut off in its head": offer_of("gradients")[:7],
        "cut off in its name": offer_of("gradients")[:-1],
        "bytes behind it": offer_of("gradients") + b"\0",
        "without a name": offer_of(""),
        "a name of 65 bytes": offer_of("a" * 65),
        "a space in the name": offer_of("my gradients"),
        "a * within a name": offer_of("gradients/*"),
        "the second one": offer_of("gradients") + offer_of("my gradients"),
    }
    return [{"title": title, "hex": frame.hex()} for title, frame in cases.items()]


def malformed_contents() -> list[Vector]:
    three = struct.pack("<3d", 1, 2, 3)
    good = ["a", "float64", [3]]

    def listed(title: str, reason: str, entries: Any, *frames: bytes) -> tuple[str, str, bytes, tuple[bytes, ...]]:
        return title, reason, packed([None, entries]), frames

    cases: list[tuple[str, str, bytes, tuple[bytes, ...]]] = [
        ("nothing", "messagepack", b"", ()),
        ("a map", "messagepack", packed({"body": None}), ()),
        ("an array of none", "messagepack", packed([]), ()),
        ("an array of three", "messagepack", packed([None, [], None]), ()),
        ("bytes behind it", "messagepack", packed([None]) + b"\0", ()),
        ("cut off in text", "messagepack", packed(["body"])[:-1], ()),
        ("4 Gi elements announced", "messagepack", b"\x91\xdd\xff\xff\xff\xff", ()),
        ("4 GiB announced", "messagepack", b"\x91\xc6\xff\xff\xff\xff", ()),
        ("the byte C1", "messagepack", b"\x91\xc1", ()),
        ("text that is no UTF-8", "messagepack", b"\x91\xa1\xff", ()),
        ("an extension type", "extension", b"\x91\xd4\x05\0", ()),
        ("a timestamp", "extension", b"\x91\xd6\xff\0\0\0\0", ()),
        ("an empty extension type", "extension", b"\x91\xc7\0\x05", ()),
        ("101 levels", "depth", packed([nested(101)]), ()),
        ("ten thousand levels", "depth", b"\x91" * 10_000, ()),
        listed("a frame too few", "frames", [good, ["b", "float64", [3]]], three),
        listed("a frame too many", "frames", [good], three, b""),
        ("a frame without list", "frames", packed([None]), (three,)),
        listed("two of one name", "names", [good, good], three, three),
        listed("no name", "entry", [["", "float64", [3]]], three),
        listed("a name of 256 bytes", "names", [["é" * 128, "float64", [3]]], three),
        listed("a name that is bytes", "entry", [[b"a", "float64", [3]]], three),
        listed("no shape", "entry", [["a", "float64"]], three),
        listed("an unknown order", "entry", [["a", "float64", [3], "A"]], three),
        listed("a negative side", "entry", [["a", "float64", [-3]]], three),
        listed("two negative sides", "entry", [["a", "float64", [-3, -1]]], three),
        listed("a side that is a float", "entry", [["a", "float64", [3.0]]], three),
        listed("a side that is true", "entry", [["a", "float64", [True, 3]]], three),
        listed("a frame too short", "size", [["a", "float64", [4]]], three),
        listed("a frame too long", "size", [["a", "float64", [2]]], three),
        listed("a frame where nothing is", "size", [["a", "float64", [3, 0]]], three),
        listed("a product that is 24 in 64 bits", "size", [["a", "float64", [1 << 62, 4, 3]]], three),
        listed("a size that is 24 in 64 bits", "size", [["a", "float64", [(1 << 61) + 3]]], three),
        listed("a huge product", "size", [["a", "uint8", [U32] * 8]], three),
        listed("an object array", "dtype", [["a", "object", [3]]], three),
        listed("numpy's short name", "dtype", [["a", "<f8", [3]]], three),
        listed("big-endian", "dtype", [["a", ">f8", [3]]], three),
        listed("a time without unit", "dtype", [["a", "datetime64", [3]]], three),
        listed("bytes without length", "dtype", [["a", "bytes", [3]]], three),
        listed("more bytes than there are numbers", "dtype", [["a", "bytes" + "9" * 30, [0]]], b""),
    ]
    return [
        {"title": title, "reason": reason, "hex": whole.hex(), "frames": [frame.hex() for frame in frames]}
        for title, reason, whole, frames in cases
    ]


# ---- the files ----


def vectors() -> dict[str, Any]:
    """By file name, what it holds."""
    return {
        "envelopes.json": envelopes(),
        "keys.json": keys(),
        "offers.json": offers(),
        "contents.json": [*bodies(), *shapes(), *numbers()],
        "malformed.json": {
            "envelopes": malformed_envelopes(),
            "offers": malformed_offers(),
            "contents": malformed_contents(),
        },
    }


def as_text(value: Any) -> str:
    """A vector a line, so that a difference shows which one."""
    if isinstance(value, dict):
        groups = (f" {json.dumps(name)}: {as_text(group).strip()}" for name, group in value.items())
        return "{\n" + ",\n".join(groups) + "\n}\n"
    return "[\n" + ",\n".join("  " + json.dumps(each, ensure_ascii=False) for each in value) + "\n]\n"


if __name__ == "__main__":
    for file_name, held in vectors().items():
        (HERE / file_name).write_text(as_text(held), encoding="utf-8")
