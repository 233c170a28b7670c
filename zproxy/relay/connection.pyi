REASONS: tuple[str, ...]
STATES: tuple[str, ...]

def legal_transitions() -> dict[str, list[str]]: ...
