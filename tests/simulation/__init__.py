"""The broker among model peers: seeded random schedules of messages and faults, in virtual time.

    schedule         seed → knobs and actions              world     runs them: time, actions, the end
    relay            what the fast path does               link      one connection: order, delays, losses
    node, worker     the protocol, independently           peer      what both have in common
    oracle           what was promised, at every step: from book (what is known) and telling (what may be said)
    surface          the one place that calls the probe    defects   surfaces that misbehave, each in one way
    runs             one seed, many seeds, shrinking       words     the envelope's numbers
    rules            what peers may, and its reading

`python -m tests.simulation` runs many seeds, or one with its trace.
"""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
if __name__ == "tests.simulation":  # the checkout's zproxy is not compiled: the installed one is meant
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != CHECKOUT] + [str(CHECKOUT)]
