"""zproxy's benchmarks: `python -m bench` compares with zmq.proxy, `pytest bench --benchmark-only` times the same cases.

Both ways of starting put the checkout first in sys.path, where zproxy lies uncompiled: the installed one is meant.
"""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != CHECKOUT.resolve()]
