from collections.abc import Iterable, Mapping
from enum import IntEnum

Kind: type[IntEnum]
Flag: type[IntEnum]
Code: type[IntEnum]
Tlv: type[IntEnum]
FAULTS: tuple[str, ...]
FIELDS: tuple[str, ...]
NAME_MAX: int
ALL_TLVS_MAX: int
NO_TRACE: bytes

class Envelope:
    kind: int
    service: str
    name: str
    tlvs: bytes
    priority: int
    flags: int
    code: int
    attempt: int
    incarnation: int
    sequence: int
    lease: int
    remaining_ms: int
    credit: int
    key_hash: int
    stream: int
    offset: int
    step: int
    progress: float
    trace: bytes
    max_attempts: int
    total: int
    conversation: int
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
    def fields(self) -> dict[str, object]: ...

def key_hash(key: bytes) -> int: ...
def tlvs_pack(entries: Mapping[int, bytes]) -> bytes: ...
def tlvs_parse(tlvs: bytes) -> dict[int, bytes]: ...
def offers_pack(offers: Iterable[tuple[str, int, int]]) -> bytes: ...
def offers_parse(content: bytes | bytearray | memoryview) -> list[tuple[str, int, int]] | None: ...
