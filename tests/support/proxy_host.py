"""A process that runs one `zproxy.Proxy` and answers for it (see HostedProxy). A program of its own."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.remove(str(Path(__file__).parent))

from support.processes import serve
from zproxy import Proxy


class Calls:
    """What the tests may ask."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.proxy = Proxy(**options)
        self.proxy.start()

    def endpoints(self) -> dict[str, list[str]]:
        return {"frontend": list(self.proxy.frontend), "backend": list(self.proxy.backend)}

    def stats(self) -> dict[str, int]:
        return dict(self.proxy.stats())

    def begin_stop(self, drain: float) -> None:
        threading.Thread(target=self.proxy.stop, args=(drain,), daemon=True).start()

    def wait(self, timeout: float) -> bool:
        return bool(self.proxy.wait(timeout))


if __name__ == "__main__":
    serve(Calls(json.loads(sys.argv[1])))
