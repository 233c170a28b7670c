from enum import IntEnum

class Counter(IntEnum): ...
class Gauge(IntEnum): ...

COUNTER_HELP: dict[Counter, str]
GAUGE_HELP: dict[Gauge, str]
COUNTER_NAMES: tuple[str, ...]
GAUGE_NAMES: tuple[str, ...]
