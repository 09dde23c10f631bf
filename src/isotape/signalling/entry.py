"""The door of /init and of the socket: a token and a peer id in, what they open out."""

from isotape.auth.tokens import AppToken, verify_app
from isotape.errors import BadRequest, Unauthenticated
from isotape.ids import PeerId, is_peer_id
from isotape.rooms import Entry
from isotape.signalling.parts import SignallingParts


async def enter(parts: SignallingParts, token_text: str, peer_id: str) -> tuple[AppToken, Entry]:
    """Checks the token and says what it opens for this peer.

    A client repeats its first token at every reconnect, so an expired one still opens the room in which its own peer
    sits.
    """
    if not is_peer_id(peer_id):
        raise BadRequest("peer id: 1-64 letters, digits, - or _")
    now = parts.clock.now()
    try:
        token = verify_app(parts.credentials, token_text, now)
    except Unauthenticated:
        token = verify_app(parts.credentials, token_text, now, allow_expired=True)
        if not parts.rooms.is_live(PeerId(peer_id), token):
            raise
    return token, await parts.rooms.admit(token, PeerId(peer_id))
