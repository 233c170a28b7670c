"""Children: the processes of a session, and what is read from them under a deadline."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from zproxy import errors
from zproxy.errors import LoadError
from zproxy.loadgen.messages import Answer, Failure, Load, Place
from zproxy.processes import spawn

START_SECONDS = 20.0
ANSWER_SECONDS = 120.0  # beyond any load's own time: the child watches its time-outs itself

T = TypeVar("T")


class Child:
    """A process with lines to and from it; its errors go to `log`, and it runs in that folder.

    There `python -m zproxy` finds the installed package, not a checkout. It has a process group of its own: Ctrl-C
    is for us alone.
    """

    def __init__(self, argv: list[str], log: Path, **options: object) -> None:
        self._log = log
        self._argv = argv
        with log.open("a") as stderr:
            self.process = spawn(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=log.parent,
                start_new_session=True,
                **options,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def read_line(self, seconds: float) -> str:
        """Its next line. Raises LoadError when it has ended or takes longer."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise LoadError(f"{self._name} has not answered for {seconds:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise LoadError(f"{self._name} ended with {self.process.wait()}: {self._last_words()}")
        return line

    def write_line(self, line: str) -> None:
        """Raises LoadError when it has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise LoadError(f"{self._name} has ended: {self._last_words()}") from error

    def close(self) -> None:
        """Kills it; nothing it holds is worth waiting for."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def _name(self) -> str:
        return " ".join(self._argv[:4])

    def _last_words(self) -> str:
        lines = self._log.read_text().strip().splitlines()
        return lines[-1] if lines else "it said nothing"


class Peer(Child):
    """A child that speaks messages.py: a role of __main__.py."""

    def __init__(self, role: str, log: Path) -> None:
        super().__init__([sys.executable, "-m", "zproxy.loadgen", role], log)

    def ask(self, said: Place | Load, kind: type[T], seconds: float = ANSWER_SECONDS) -> T:
        """Its answer. Raises what it failed with: NoAnswer, WrongReply, LoadError."""
        self.write_line(msgspec.json.encode(said).decode())
        answer = msgspec.json.decode(self.read_line(seconds), type=Answer)
        if isinstance(answer, Failure):
            failure = getattr(errors, answer.kind, LoadError)
            raise failure(answer.text)
        assert isinstance(answer, kind)
        return answer
