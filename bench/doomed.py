"""A Master that takes one request and keeps it, to be killed: `python doomed.py BACKEND NAME MEBIBYTES`.

Started by its file, by redelivery.py. It says "taken" when it has the request; MEBIBYTES of its memory are written to.
"""

import sys
import threading

import zproxy

MIB = 1 << 20


def main() -> None:
    """Until it is killed."""
    endpoint, name, mebibytes = sys.argv[1:]
    ballast = b"\1" * (int(mebibytes) * MIB)
    master = zproxy.Master(endpoint, name=name, concurrency=1)

    @master.service("load")
    def keep(request: zproxy.Request) -> None:
        print("taken", len(ballast), flush=True)
        threading.Event().wait()

    master.run()


if __name__ == "__main__":
    main()
