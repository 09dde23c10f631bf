"""The subscribing connection's offers: the server makes them, the client answers, one at a time.

Before it: the engine, which makes the next offer of a peer only after the answer to the last. After it: the peer's
socket. An answer carries nothing that names its offer, so an offer that a lost socket swallowed is said again,
unchanged, when the peer is back.
"""

from isotape.engine import Engine
from isotape.errors import EngineError, Unavailable
from isotape.ids import PeerId, new_uuid
from isotape.logs import logger
from isotape.signalling.fanout import Fanout
from isotape.wire import client as wire

log = logger(part="signalling")


class Negotiation:
    """The unanswered offer of each peer, and which peers may be sent one."""

    def __init__(self, engine: Engine, fanout: Fanout) -> None:
        self._engine = engine
        self._fanout = fanout
        self._unanswered: dict[PeerId, str] = {}
        self._listening: set[PeerId] = set()
        # A client learns by a changed id that the server it knew is gone.
        self.node_id = new_uuid()

    def offered(self, peer_id: PeerId, sdp: str) -> None:
        """The engine wants this offer answered."""
        self._unanswered[peer_id] = sdp
        if peer_id in self._listening:
            self._fanout.send(peer_id, wire.Notice.OFFER, wire.offer(sdp))

    def listen(self, peer_id: PeerId) -> None:
        """The peer's client has its join's reply, or is back. An offer that it may have missed is said again."""
        if peer_id in self._listening:
            return
        self._listening.add(peer_id)
        if (sdp := self._unanswered.get(peer_id)) is not None:
            self._fanout.send(peer_id, wire.Notice.OFFER, wire.offer(sdp))

    def is_from_before(self, node_id: str | None) -> bool:
        """Whether an offer was made to a server that is gone. SDKs that do not name the node cannot be told to begin anew."""
        return node_id is not None and node_id != self.node_id

    def renew(self, peer_id: PeerId) -> None:
        """The peer offered from connections that a former server knew: it is told to make both anew.

        Its offer must have been refused before. A connection that is closed while it takes an answer never finishes, and the
        SDK would wait for it for ever.
        """
        self._fanout.send(peer_id, wire.Notice.NODE_INFO, wire.node_info(self.node_id))

    def pause(self, peer_id: PeerId) -> None:
        """The peer's socket is gone."""
        self._listening.discard(peer_id)

    def forget(self, peer_id: PeerId) -> None:
        self._listening.discard(peer_id)
        self._unanswered.pop(peer_id, None)

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
