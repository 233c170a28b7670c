from collections.abc import Iterable, Mapping
from enum import IntEnum

FAULTS: tuple[str, ...]
FIELDS: tuple[str, ...]
NAME_MAX: int
ALL_TLVS_MAX: int
NO_TRACE: bytes

class Kind(IntEnum):
    WELCOME = 1
    HELLO = 2
    READY = 3
    CREDIT = 4
    GOODBYE = 5
    ACCEPTED = 6
    REQUEST = 16
    POST = 17
    REPLY = 18
    ERROR = 19
    CANCEL = 20
    PROGRESS = 21
    CHUNK = 32
    WINDOW = 33

class Flag(IntEnum):
    RESENT = 0x0001
    WANTS_PROGRESS = 0x0002
    WANTS_ACCEPTED = 0x0004
    HAS_STEP = 0x0008
    HAS_PROGRESS = 0x0010
    NOT_IDEMPOTENT = 0x0100
    RETRY_ERRORS = 0x0200
    ORDERED = 0x0400
    LAST = 0x0800
    SHARED = 0x1000

class Code(IntEnum):
    MALFORMED = 1
    NEED_HELLO = 2
    NAME_IN_USE = 3
    FENCED = 4
    DENIED = 5
    UNKNOWN_SERVICE = 6
    NO_WORKER = 7
    BUSY = 8
    TIMEOUT = 9
    WORKER_LOST = 10
    RETRIES_EXHAUSTED = 11
    POISON = 12
    TOO_LARGE = 13
    DRAINING = 14
    HANDLER_ERROR = 15
    CANCELLED = 16
    ALREADY_DONE = 17
    OUTCOME_UNKNOWN = 18
    RESEND = 19
    NOT_SHARED = 20
    CODE_YOURS = 0x8000

class Tlv(IntEnum):
    SENTENCE = 1
    AGENT = 2
    TRACESTATE = 3
    TIMES = 4

class Envelope:
    @property
    def kind(self) -> int: ...
    @property
    def service(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def tlvs(self) -> bytes: ...
    @property
    def priority(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def code(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def incarnation(self) -> int: ...
    @property
    def sequence(self) -> int: ...
    @property
    def lease(self) -> int: ...
    @property
    def remaining_ms(self) -> int: ...
    @property
    def credit(self) -> int: ...
    @property
    def key_hash(self) -> int: ...
    @property
    def stream(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def progress(self) -> float: ...
    @property
    def trace(self) -> bytes: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def conversation(self) -> int: ...
    def __init__(
        self,
        kind: int,
        *,
        service: str = "",
        name: str = "",
        tlvs: bytes = b"",
        priority: int = 1,
        flags: int = 0,
        code: int = 0,
        attempt: int = 0,
        incarnation: int = 0,
        sequence: int = 0,
        lease: int = 0,
        remaining_ms: int = 0,
        credit: int = 0,
        key_hash: int = 0,
        stream: int = 0,
        offset: int = 0,
        step: int = 0,
        progress: float = 0.0,
        trace: bytes = ...,
        max_attempts: int = 0,
        total: int = 0,
        conversation: int = 0,
    ) -> None: ...
    @staticmethod
    def parse(frame: bytes | bytearray | memoryview) -> Envelope: ...
    def pack(self) -> bytes: ...
    def answer_head(self, kind: int) -> bytes: ...
    def fields(self) -> dict[str, object]: ...

def request_head(
    kind: int, service: bytes, incarnation: int, sequence: int, remaining_ms: int, conversation: int
) -> bytes: ...
def key_hash(key: bytes) -> int: ...
def tlvs_pack(entries: Mapping[int, bytes]) -> bytes: ...
def tlvs_parse(tlvs: bytes) -> dict[int, bytes]: ...
def offers_pack(offers: Iterable[tuple[str, int, int]]) -> bytes: ...
def offers_parse(content: bytes | bytearray | memoryview) -> list[tuple[str, int, int]] | None: ...
