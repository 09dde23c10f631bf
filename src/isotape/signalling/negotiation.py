"""The subscribing connection's offers: the server makes them, the client answers, one at a time.

Before it: the engine, which makes the next offer of a peer only after the answer to the last. After it: the peer's
socket. An answer carries nothing that names its offer, so an offer that a lost socket swallowed is said again,
unchanged, when the peer is back.
"""

from enum import Enum, auto

from isotape.engine import Engine
from isotape.errors import EngineError, Unavailable
from isotape.ids import PeerId, new_uuid
from isotape.logs import logger
from isotape.signalling.fanout import Fanout
from isotape.wire import client as wire

log = logger(part="signalling")


class _Renewal(Enum):
    """How far a client of before a restart is with making its connections anew."""

    MEDIA = auto()  # its publishing connection is to come up again first
    TOLD = auto()  # it has been told that this is another node


class Negotiation:
    """The unanswered offer of each peer, and which peers may be sent one."""

    def __init__(self, engine: Engine, fanout: Fanout) -> None:
        self._engine = engine
        self._fanout = fanout
        self._unanswered: dict[PeerId, str] = {}
        self._listening: set[PeerId] = set()
        self._renewals: dict[PeerId, _Renewal] = {}
        # A client learns by a changed id that the server it knew is gone.
        self.node_id = new_uuid()

    def offered(self, peer_id: PeerId, sdp: str) -> None:
        """The engine wants this offer answered."""
        self._unanswered[peer_id] = sdp
        if peer_id in self._listening:
            self._fanout.send(peer_id, wire.Notice.OFFER, wire.offer(sdp))

    def listen(self, peer_id: PeerId) -> None:
        """The peer's client has its join's reply, or is back. An offer that it may have missed is said again."""
        if peer_id in self._listening or peer_id in self._renewals:
            return
        self._listening.add(peer_id)
        if (sdp := self._unanswered.get(peer_id)) is not None:
            self._fanout.send(peer_id, wire.Notice.OFFER, wire.offer(sdp))

    def renew(self, peer_id: PeerId) -> None:
        """The peer offered from connections that a former server knew.

        Its subscribing one could not take our first offer, so it must make both anew. It is told when its media is back: a
        connection that is closed while it takes an answer never finishes, and the SDK would wait for it for ever.
        """
        self.pause(peer_id)
        self._renewals[peer_id] = _Renewal.MEDIA

    def media_connected(self, peer_id: PeerId) -> None:
        """The peer's publishing connection is up."""
        if self._renewals.get(peer_id) is _Renewal.MEDIA:
            self._renewals[peer_id] = _Renewal.TOLD
            self._fanout.send(peer_id, wire.Notice.NODE_INFO, wire.node_info(self.node_id))

    def begin_offers_anew(self, peer_id: PeerId, node_id: str | None) -> None:
        """The peer offers to `node_id`. From a renewed connection on, what was to be offered to the old one is void."""
        if node_id == self.node_id and self._renewals.get(peer_id) is _Renewal.TOLD:
            self.forget(peer_id)

    def pause(self, peer_id: PeerId) -> None:
        """The peer's socket is gone."""
        self._listening.discard(peer_id)

    def forget(self, peer_id: PeerId) -> None:
        self._listening.discard(peer_id)
        self._unanswered.pop(peer_id, None)
        self._renewals.pop(peer_id, None)

    async def answered(self, peer_id: PeerId, sdp: str) -> None:
        """Passes an answer on. One to no offer is an echo of an offer said twice and is passed over."""
        if self._unanswered.pop(peer_id, None) is None:
            return
        await self._engine.subscribe_answer(peer_id, sdp)

    async def restart(self, peer_id: PeerId) -> None:
        """The subscribing connection broke. Its client does nothing but wait for an offer with an ICE restart."""
        try:
            await self._engine.restart_subscribe(peer_id)
        except (EngineError, Unavailable) as error:
            log.warning("subscribing connection not restarted", peer=peer_id, error=error.message)
