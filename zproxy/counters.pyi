COUNTER_HELP: dict[int, str]
GAUGE_HELP: dict[int, str]
COUNTER_NAMES: tuple[str, ...]
GAUGE_NAMES: tuple[str, ...]
