"""Worker: a model of the protocol's worker: takes what it is given, begins it, answers it under its lease."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from zproxy.envelope import Code, Envelope, offers_pack

from .book import Violation
from .peer import Peer
from .rules import is_matched, row_of
from .schedule import GUARDED
from .words import (
    BUSY,
    CANCEL,
    CANCELLED,
    CHUNK,
    CREDIT,
    ERROR,
    GOODBYE,
    HANDLER_ERROR,
    LAST,
    POST,
    PROGRESS,
    READY,
    REPLY,
    REQUEST,
    WINDOW,
)

if TYPE_CHECKING:
    from .world import World

MINE = 0x8001
ODD = int(Code.DENIED)  # not a worker's to say


@dataclass(slots=True)
class Job:
    given: Envelope
    random: Random  # of this delivery alone
    is_begun: bool = False
    is_answered: bool = False
    offsets: list[int] = field(default_factory=list)  # of its streams; -1: whole


class Worker(Peer):
    is_worker = True

    def __init__(self, world: World, name: str, services: tuple[str, ...], credit: int) -> None:
        super().__init__(world, name)
        self.services = services
        self.wanted = services  # whatever the rules allow of it
        self.credit = credit
        self.jobs: dict[int, Job] = {}  # by lease, of this conversation, not answered
        self.queue: deque[Job] = deque()  # of them, not begun
        self.running = 0  # of any conversation
        self.leases: list[int] = []  # it has ever seen

    # ---- what it says of itself ----

    def introduce(self, _: None) -> None:
        lease_ms = self.world.knobs.lease_ms
        content = offers_pack((service, lease_ms, int(service in GUARDED)) for service in self.services)
        self.say(READY, content, name=self.name, incarnation=self.incarnation, credit=self.credit)

    def reconsider(self, _: None = None) -> None:
        """It offers what it may of what it wants to."""
        rules = self.world.rules or ()
        row = row_of(self.name)
        serve = rules[row - 1].serve if row <= len(rules) else ()
        self.services = tuple(service for service in self.wanted if is_matched(serve, service))
        if self.services and self.link is not None and self.conversation and not self.is_leaving:
            self.introduce(None)

    def set_credit(self, credit: int) -> None:
        self.credit = credit
        if self.is_accepted and not self.is_leaving:
            self.say(CREDIT, credit=credit)
        self.begin_next()

    def leave(self) -> None:
        if self.is_accepted and not self.is_leaving:
            self.is_leaving = True
            self.say(GOODBYE)

    def welcomed(self) -> None:
        self.jobs.clear()
        self.queue.clear()

    def accepted(self) -> None:
        if self.is_leaving:
            self.say(GOODBYE)

    # ---- what it is given ----

    def hear(self, envelope: Envelope) -> None:
        kind = envelope.kind
        if kind == REQUEST or kind == POST:
            self.take(envelope)
        elif kind == CANCEL:
            self.hear_cancel(envelope)
        elif kind == CHUNK:
            self.hear_chunk(envelope)
        elif kind == GOODBYE:
            if self.is_leaving:
                self.world.replace(self)
            else:
                self.leave()

    def take(self, envelope: Envelope) -> None:
        job = Job(envelope, Random(self.world.delivery_seed(envelope)))
        self.leases.append(envelope.lease)
        self.jobs[envelope.lease] = job
        if job.random.random() < 0.04:
            self.answer(job, ERROR, code=BUSY)
            return
        job.offsets = [0] * envelope.stream
        self.queue_whole(job)

    def queue_whole(self, job: Job) -> None:
        """All its streams are here."""
        if all(offset < 0 for offset in job.offsets):
            self.queue.append(job)
            self.begin_next()

    def hear_chunk(self, envelope: Envelope) -> None:
        job = self.jobs.get(envelope.lease)
        if job is None or job.is_begun:
            return
        number = envelope.stream - 1
        expected = job.given.attempt, job.offsets[number]
        if (envelope.attempt, envelope.offset) != expected:
            raise Violation("whole streams", f"{self.name} has {envelope} of {job.given}, after {job.offsets}")
        job.offsets[number] += 1
        if envelope.flags & LAST:
            job.offsets[number] = -1
        else:
            self.say_about(
                job.given, WINDOW, attempt=envelope.attempt, stream=envelope.stream, offset=envelope.offset + 5
            )
        self.queue_whole(job)

    def hear_cancel(self, envelope: Envelope) -> None:
        job = self.jobs.get(envelope.lease)
        if job is None:
            return
        if not job.is_begun:
            if job in self.queue:
                self.queue.remove(job)
            self.answer(job, ERROR, code=CANCELLED)
        elif job.random.random() < 0.5:
            self.answer(job, ERROR, code=CANCELLED)  # it goes on to its end, in vain

    # ---- work ----

    def begin_next(self) -> None:
        while self.queue and self.running < max(self.credit, 1):
            job = self.queue.popleft()
            job.is_begun = True
            self.running += 1
            random = job.random
            self.world.executed(self, job.given)
            work_ms = random.randrange(1, self.world.knobs.work_ms + 1)
            if random.random() < 0.05:
                work_ms += random.randrange(6000)
            if random.random() < 0.15:
                self.later(random.randrange(work_ms), self.tell_progress, job)
            self.later(work_ms, self.finish, job)

    def tell_progress(self, job: Job) -> None:
        if self.jobs.get(job.given.lease) is job:
            self.say_about(job.given, PROGRESS)

    def finish(self, job: Job) -> None:
        self.running -= 1
        if self.jobs.get(job.given.lease) is job:
            luck = job.random.random()
            if luck < 0.85:
                self.answer(job, REPLY, stream=self.send_chunks(job))
            else:
                self.answer(job, ERROR, code=HANDLER_ERROR if luck < 0.94 else MINE if luck < 0.98 else ODD)
        self.begin_next()

    def send_chunks(self, job: Job) -> int:
        """Of the reply: how many streams belong to it?"""
        if job.given.kind == POST or job.random.random() >= self.world.knobs.streamed_share:
            return 0
        size = job.random.randint(1, 4)
        for offset in range(size):
            self.say_about(
                job.given, CHUNK, attempt=job.given.attempt, stream=1, offset=offset, total=size,
                flags=LAST if offset + 1 == size else 0,
            )
        return 1

    def answer(self, job: Job, kind: int, **fields: Any) -> None:
        del self.jobs[job.given.lease]
        self.say_about(job.given, kind, **fields)

    def say_about(self, given: Envelope, kind: int, **fields: Any) -> None:
        self.say(kind, lease=given.lease, incarnation=given.incarnation, sequence=given.sequence, **fields)
