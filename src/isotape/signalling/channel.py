"""The `ion-sfu` data channel: which layer of which track a subscriber wants to get.

Before it: the engine's ChannelData. After it: the engine's forwarding. These are the wishes of one subscriber; they
never reach the recorder.
"""

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from isotape.engine import ChannelData, Engine
from isotape.errors import BadRequest, IsotapeError, NotFound
from isotape.ids import PeerId, TrackId
from isotape.logs import logger
from isotape.signalling.messages import Frame, Identifier, Params, read
from isotape.wire import client as wire

log = logger(part="signalling")

# A wish is 200 bytes; an SDK sends a handful a second at most.
_MAX_TEXT = 16 * 1024


class PreferVideo(Params):
    track_id: Identifier
    max_spatial_layer: Literal["none", "low", "medium", "high"]


class PreferAudio(Params):
    track_id: Identifier
    subscribed: Annotated[bool, Field(strict=True)]


class Channel:
    """Answers what clients say on their data channels."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def heard(self, event: ChannelData) -> None:
        """Does what a message asks and replies. What is not a request gets no reply: there is nothing to tie it to."""
        if len(event.text) > _MAX_TEXT:
            return
        try:
            frame = read(event.text)
        except BadRequest:
            return
        if frame.id is None:
            return
        try:
            await self._obey(event.peer, frame)
            reply = wire.reply(frame.id, {})
        except IsotapeError as error:
            reply = wire.error_reply(frame.id, error.status, error.message)
        await self._say(event.peer, json.dumps(reply))

    async def _obey(self, peer: PeerId, frame: Frame) -> None:
        try:
            if frame.method == "prefer-video-track-state":
                video = PreferVideo.model_validate(frame.params)
                await self._engine.prefer_layer(peer, TrackId(video.track_id), video.max_spatial_layer)
            elif frame.method == "prefer-audio-track-state":
                audio = PreferAudio.model_validate(frame.params)
                await self._engine.prefer_audio(peer, TrackId(audio.track_id), audio.subscribed)
            else:
                raise NotFound(f"{frame.method[:64]}: unknown method")
        except ValidationError as error:
            raise BadRequest(f"{frame.method}: {error.error_count()} wrong params") from error

    async def _say(self, peer: PeerId, text: str) -> None:
        try:
            await self._engine.send_data(peer, text)
        except IsotapeError as error:
            # The channel closed meanwhile; its client asks again on the next one.
            log.info("data channel reply not sent", peer=peer, error=error.message)
