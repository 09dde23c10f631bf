"""What a role may publish, and the limits of what one Peer may name. Pure.

The tracks of an offer come from a client; their ids go into the SDP of every other peer, so their form is checked
here, once.
"""

import re
from collections.abc import Sequence

from isotape.errors import BadRequest, Conflict, Forbidden
from isotape.model import MediaKind, Source, Template, Track
from isotape.rooms.live import LivePeer, LiveRoom

# A camera, a microphone and three shares with sound are 8. Each track costs every subscriber an m-line.
_MAX_TRACKS = 16
# Printable ASCII without space: what an `a=msid` line can hold (RFC 8830). Firefox puts its ids in braces.
_TRACK_NAME = re.compile(r"[!-~]{1,128}\Z")


def check_publishing(room: LiveRoom, peer: LivePeer, tracks: Sequence[Track]) -> None:
    """Forbidden when the role may not publish a track, BadRequest or Conflict when a track's names cannot be used."""
    if len(tracks) > _MAX_TRACKS:
        raise BadRequest(f"peer {peer.id}: publishes {len(tracks)} tracks, {_MAX_TRACKS} are allowed")
    allowed = publishing_rights(room.template, peer.peer.role)
    for track in tracks:
        if needed_right(track) not in allowed:
            raise Forbidden(f"role {peer.peer.role}: may not publish {needed_right(track)}")
        if not (_TRACK_NAME.match(track.track_id) and _TRACK_NAME.match(track.stream_id)):
            raise BadRequest(f"peer {peer.id}: a track or stream id is not 1-128 printable characters")
        owner = room.owner_of(track.track_id)
        if owner is not None and owner is not peer:
            raise Conflict(f"track {track.track_id}: published by another peer")


def needed_right(track: Track) -> str:
    """The entry of `publishParams.allowed` that a track needs; a share's sound is part of the share."""
    if track.source == Source.SCREEN:
        return "screen"
    return "video" if track.kind is MediaKind.VIDEO else "audio"


def publishing_rights(template: Template, role: str) -> frozenset[str]:
    """What the role may publish: of `audio`, `video`, `screen`."""
    params = (template.roles.get(role) or {}).get("publishParams") or {}
    allowed = params.get("allowed")
    return frozenset(str(item) for item in allowed) if isinstance(allowed, list) else frozenset()
