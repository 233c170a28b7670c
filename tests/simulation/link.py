"""Link: one connection between a peer and the relay. Keeps the order of each direction; what is in it when it ends is
lost, but for what a real one may still bring: the relay reads on to the end it has seen, and a peer finds in its socket
what an ended connection had received.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from zproxy.envelope import Envelope

from .book import Seat
from .surface import Said

if TYPE_CHECKING:
    from .peer import Peer
    from .relay import Relay
    from .world import World


class Link:
    def __init__(self, world: World, relay: Relay, peer: Peer, slot: int, seat: Seat) -> None:
        self.world = world
        self.relay = relay
        self.peer = peer
        self.slot = slot
        self.seat = seat
        self.is_joined = True  # the relay has not seen its end
        self.is_held = True  # the peer has not seen its end
        self.is_swallowing = False  # whatever is sent is lost, and nobody knows
        self.is_deaf = False  # nothing more arrives at the relay but its end
        self.is_leaky = False  # the peer still finds what was on its way when it ended
        self.up: deque[Said] = deque()
        self._up_ms = 0
        self._down_ms = 0

    def send_up(self, said: Said) -> None:
        if self.is_deaf:
            return
        self.up.append(said)
        self._up_ms = max(self._up_ms, self.world.now_ms + self.peer.delay())
        self.world.at(self._up_ms, self._arrive_up, said)

    def send_down(self, envelope: Envelope) -> None:
        self._down_ms = max(self._down_ms, self.world.now_ms + self.peer.delay())
        self.world.at(self._down_ms, self._arrive_down, envelope)

    def _arrive_up(self, said: Said) -> None:
        if self.up and self.up[0] is said and not self.is_swallowing:
            self.up.popleft()
            if self.is_joined:
                self.relay.arrive(self, said)

    def _arrive_down(self, envelope: Envelope) -> None:
        if not self.is_swallowing and (self.is_held or self.is_leaky):
            self.peer.when_awake(self.peer.receive, envelope)

    # ---- its end ----

    def cut(self, to_relay_ms: int, to_peer_ms: int, is_torn: bool, is_leaky: bool) -> None:
        """It ends: the two sides see it then. `is_torn`: what is on its way up is lost at once."""
        self.is_leaky = is_leaky
        if is_torn:
            self.is_deaf = True
            self.give_up_rest()
        self.world.after(to_relay_ms, self.relay.close, self)
        self.world.after(to_peer_ms, self.peer.when_awake_lose, self)

    def give_up_rest(self) -> list[Said]:
        """What did not arrive, and will not."""
        rest = [*self.up]
        self.up.clear()
        return rest
