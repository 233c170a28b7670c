"""Rules: what peers may use, serve and send, drawn for a run; and how the oracle reads them, by itself."""

from __future__ import annotations

from random import Random

from zproxy.broker.access import Permit

Rules = tuple[Permit, ...]  # by row, from 1 on

OPEN = Permit(allow=("*",), serve=("*",))
NAMES = ("n0", "n1", "n2", "n3", "w0", "w1", "w2", "w3")  # whose rows these are, in their order


def row_of(name: str) -> int:
    """0: somebody without a key."""
    return NAMES.index(name) + 1 if name else 0


def rules_of(random: Random) -> Rules:
    """Sometimes a peer's row is missing."""
    return tuple(permit_of(random) for _ in range(random.choice((8, 8, 8, 8, 7, 3))))


def permit_of(random: Random) -> Permit:
    return Permit(
        allow=random.choice((("*",), ("*",), ("red", "g*"), ("gold", "blue"), ("g*",), ())),
        serve=random.choice((("*",), ("*",), ("*", "red"), ("red", "g*"), ("gold",), ())),
        messages_per_second=random.choice((0.0, 0.0, 0.0, 4.0, 20.0)),
        bytes_per_second=random.choice((0.0, 0.0, 0.0, 700.0)),
        in_flight=random.choice((0, 0, 0, 2)),
        max_message_bytes=random.choice((0, 0, 0, 0, 132)),  # of a request for green: 133
    )


def is_matched(patterns: tuple[str, ...], service: str) -> bool:
    return any(service == each or each.endswith("*") and service.startswith(each[:-1]) for each in patterns)


class Rulebook:
    """The rules in force, and what was accepted under each row since its rates changed."""

    def __init__(self) -> None:
        self._rows: Rules = ()
        self._accepted: dict[int, list[tuple[int, int]]] = {}  # when, and how large

    def swap(self, rows: Rules) -> None:
        elders = self._rows
        self._rows = rows
        for row in range(1, max(len(rows), len(elders)) + 1):
            elder = elders[row - 1] if row <= len(elders) else Permit()
            if rates(elder) != rates(self.permit(row)) or row > len(elders):
                self._accepted.pop(row, None)

    def permit(self, row: int) -> Permit:
        if row == 0:
            return OPEN
        return self._rows[row - 1] if row <= len(self._rows) else Permit()

    def may_use(self, row: int, service: str) -> bool:
        return is_matched(self.permit(row).allow, service)

    def may_serve(self, row: int, service: str) -> bool:
        return is_matched(self.permit(row).serve, service)

    def is_limited(self, row: int) -> bool:
        permit = self.permit(row)
        return permit.in_flight > 0 or any(rates(permit))

    def accept(self, row: int, now_ms: int, size: int) -> str:
        """What it exceeds, together with what was accepted before it."""
        accepted = self._accepted.setdefault(row, [])
        accepted.append((now_ms, size))
        permit = self.permit(row)
        if 0 < permit.max_message_bytes < size:
            return f"{size} bytes"
        sizes = count = 0
        for at_ms, each in reversed(accepted):
            count += 1
            sizes += min(each, int(permit.bytes_per_second)) if count == 1 else each
            if exceeds(permit.messages_per_second, count, now_ms - at_ms):
                return f"{count} messages in {now_ms - at_ms} ms"
            if exceeds(permit.bytes_per_second, sizes, now_ms - at_ms):
                return f"{sizes} bytes in {now_ms - at_ms} ms"
        return ""


def rates(permit: Permit) -> tuple[float, float]:
    return permit.messages_per_second, permit.bytes_per_second


def exceeds(rate: float, amount: int, ms: int) -> bool:
    """More than what flows in, and one second's worth."""
    return rate > 0 and amount > rate + rate * ms / 1000
