"""What a client may say on its socket: the methods of the client protocol, each with the type of its params.

Before it: socket.py, with a text frame. After it: requests.py, which acts. Nothing here acts, and nothing from
outside gets past this file without a type and a bound. Fields that isotape does not use are passed over, since SDK
versions add some.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isotape.errors import BadRequest, Forbidden, NotFound
from isotape.ids import StreamId, TrackId
from isotape.model import MediaKind, Track

# An SDP grows by about 1.5 kB with each share and never shrinks: this is hundreds of shares.
_MAX_SDP = 512 * 1024
_MAX_TEXT = 16 * 1024

RequestId = str | int
Name = Annotated[str, Field(max_length=256)]
Text = Annotated[str, Field(max_length=_MAX_TEXT)]
Identifier = Annotated[str, Field(max_length=128)]


class Params(BaseModel):
    """Base of all params."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Description(Params):
    """An SDP. `type` is not looked at: the method says what it is."""

    sdp: Annotated[str, Field(max_length=_MAX_SDP)]


class TrackParams(Params):
    """One entry of a tracks map."""

    track_id: Identifier
    stream_id: Identifier
    type: Literal["audio", "video"]
    source: Identifier = "regular"
    mute: bool = False
    description: Text = ""

    def track(self) -> Track:
        return Track(
            track_id=TrackId(self.track_id),
            stream_id=StreamId(self.stream_id),
            kind=MediaKind(self.type),
            source=self.source or "regular",
            muted=self.mute,
            description=self.description,
        )


class Ping(Params):
    timestamp: float | int = 0


class Join(Params):
    name: Name = ""
    data: Text = ""
    offer: Description | None = None


class Candidate(Params):
    candidate: Annotated[str, Field(max_length=1024)] = ""


class Trickle(Params):
    """target: 0 the publishing, 1 the subscribing connection."""

    target: Literal[0, 1]
    candidate: Candidate


class Offer(Params):
    """`sfu_node_id` is the node that the client believes to talk to; older SDKs do not say it."""

    sfu_node_id: Identifier | None = None
    desc: Description
    tracks: Annotated[dict[str, TrackParams], Field(max_length=64)] = {}


class Answer(Params):
    desc: Description


class TrackUpdate(Params):
    tracks: Annotated[dict[str, TrackParams], Field(max_length=64)] = {}


class Leave(Params):
    client_reason: Text = ""


class Nothing(Params):
    """Params that nobody reads."""


class BroadcastInfo(Params):
    message: Any = ""
    type: Name = "chat"


class Broadcast(Params):
    info: BroadcastInfo
    roles: Annotated[list[Name], Field(max_length=64)] = []
    peer_id: Identifier = ""


class PeerUpdate(Params):
    name: Name | None = None
    data: Text | None = None


class GroupJoin(Params):
    name: Identifier


class GroupAdd(Params):
    name: Identifier
    peer_id: Identifier


class SetMetadata(Params):
    key: Identifier
    data: Any = None
    if_change_version: int | None = None


class GetMetadata(Params):
    key: Identifier


class ListenMetadata(Params):
    keys: Annotated[list[Identifier], Field(max_length=256)] = []


class TrackUpdateRequest(Params):
    requested_for: Identifier
    track_id: Identifier
    stream_id: Identifier = ""
    mute: bool


class MuteRequest(Params):
    """value: True to mute. Without roles, type or source it means all of them."""

    value: bool
    type: Literal["audio", "video"] | None = None
    source: Identifier | None = None
    roles: Annotated[list[Name], Field(max_length=64)] = []


class PeerLeaveRequest(Params):
    requested_for: Identifier
    reason: Text = ""


class EndRoom(Params):
    lock: bool = False
    reason: Text = ""


class GetPeer(Params):
    peer_id: Identifier


class FindPeer(Params):
    limit: Annotated[int, Field(ge=0, le=1000)] = 10
    role: Name = ""
    group: Identifier = ""
    peers: Annotated[list[Identifier], Field(max_length=1000)] = []


class PeerIterNext(Params):
    iterator: Text = ""


class PeerNameSearch(Params):
    query: Name = ""
    limit: Annotated[int, Field(ge=0, le=1000)] = 10
    offset: Annotated[int, Field(ge=0)] = 0


METHODS: dict[str, type[Params]] = {
    "ping": Ping,
    "join": Join,
    "trickle": Trickle,
    "offer": Offer,
    "answer": Answer,
    "track-update": TrackUpdate,
    "leave": Leave,
    "analytics": Nothing,
    "broadcast": Broadcast,
    "peer-update": PeerUpdate,
    "group-join": GroupJoin,
    "group-leave": GroupJoin,
    "group-add": GroupAdd,
    "group-remove": GroupAdd,
    "set-metadata": SetMetadata,
    "get-metadata": GetMetadata,
    "listen-metadata-change": ListenMetadata,
    "track-update-request": TrackUpdateRequest,
    "change-track-mute-state-request": MuteRequest,
    "peer-leave-request": PeerLeaveRequest,
    "end-room": EndRoom,
    "get-peer": GetPeer,
    "find-peer": FindPeer,
    "peer-iter-next": PeerIterNext,
    "peer-name-search": PeerNameSearch,
    "poll-list": Nothing,
}

# Recordings and streams start and stop by the template alone. A client that asks is refused, not ignored.
REFUSED = frozenset(
    {
        "rtmp-start",
        "rtmp-stop",
        "hls-start",
        "hls-stop",
        "hls-timed-metadata",
        "transcription-start",
        "transcription-stop",
        "transcription-config-update",
        "role-change-request",
        "role-change",
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """One understood frame; without `id` it is a notification and wants no reply."""

    method: str
    params: Params
    id: RequestId | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is JSON-RPC, its params not looked at yet."""

    method: str
    params: Any
    id: RequestId | None

    def call(self) -> Call:
        """Raises Forbidden, NotFound or BadRequest with the words for the client."""
        if self.method in REFUSED:
            raise Forbidden(f"{self.method}: not for clients; the template decides")
        kind = METHODS.get(self.method)
        if kind is None:
            raise NotFound(f"{self.method[:64]}: unknown method")
        try:
            return Call(self.method, kind.model_validate(self.params), self.id)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])[:128]
            raise BadRequest(f"{self.method} {where}: {first['msg']}") from error


def read(text: str) -> Frame:
    """The frame of a text. BadRequest when it is none."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("frame: not JSON") from error
    if not isinstance(message, dict):
        raise BadRequest("frame: not a JSON object")
    method, request_id = message.get("method"), message.get("id")
    if not isinstance(method, str):
        raise BadRequest("frame: no method")
    if request_id is not None and not isinstance(request_id, str | int):
        raise BadRequest("frame: id is neither text nor number")
    params = message.get("params")
    return Frame(method, {} if params is None else params, request_id)
