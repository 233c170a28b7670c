from zproxy.content import Frame

FAULT_WORDS: tuple[str, ...]
DEPTH_MAX: int

def body_span(content: Frame) -> tuple[int, int]: ...
