from enum import IntEnum

Counter: type[IntEnum]
Gauge: type[IntEnum]
COUNTER_HELP: dict[int, str]
GAUGE_HELP: dict[int, str]
COUNTER_NAMES: tuple[str, ...]
GAUGE_NAMES: tuple[str, ...]
OUTCOMES: tuple[str, ...]
