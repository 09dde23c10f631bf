"""One of everything that the pages show: a live session, a past one with three peers, assets in every state, deliveries.

These are the rows that rooms/, assets/ and webhooks/ write. The one file that can be played is encoded here.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from isotape.auth.credentials import Credentials
from isotape.db import assets, deliveries, events, journals, peers, room_codes, rooms, sessions, templates, workspaces
from isotape.db.engine import Tx
from isotape.ids import (
    AssetId,
    EventId,
    JobId,
    JournalId,
    PeerId,
    RoomId,
    SessionId,
    StreamId,
    TemplateId,
    TrackId,
    WorkspaceId,
    new_object_id,
    new_uuid,
)
from isotape.model import (
    Asset,
    AssetKind,
    AssetState,
    Journal,
    JournalState,
    Json,
    MediaKind,
    Peer,
    PeerState,
    Room,
    Session,
    SessionState,
    StreamRecording,
    Template,
    Track,
)
from isotape.storage.local import LocalStorage

WORKSPACE = WorkspaceId("65f000000000000000000001")
FILM_S = 4
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Rows:
    template: str
    room: str
    code: str
    live_session: str = ""
    past_session: str = ""
    played_asset: str = ""
    failed_asset: str = ""


async def write_rows(tx: Tx, storage: LocalStorage, folder: Path, now: datetime, *, empty: bool) -> Rows:
    await workspaces.ensure(tx, Credentials("key", "secret", WORKSPACE, "65f0000000000000000000aa"), now)
    template = await _template(tx, "default", now, enabled=True)
    await _template(tx, "stand-up without recording", now, enabled=False)
    room = await _room(tx, template, "weekly-review", now)
    code = (await room_codes.ensure(tx, room, "host", now)).code
    await room_codes.ensure(tx, room, "guest", now)
    if empty:
        return Rows(template.id, room.id, code)
    cast = _Cast(tx, room, template, storage, folder)
    past = await cast.past_session(now - 75 * _MINUTE)
    live = await cast.live_session(now - 12 * _MINUTE, await _room(tx, template, "customer-interviews", now))
    return Rows(template.id, room.id, code, live, past, cast.played, cast.failed)


async def _template(tx: Tx, name: str, now: datetime, *, enabled: bool) -> Template:
    recording = {"name": "default", "role": "host", "maxDuration": 14_400, "presignDuration": 259_200}
    recording["streamRecording"] = {"enabled": enabled, "width": 1280, "height": 720}
    made = Template(
        id=TemplateId(new_object_id()),
        workspace_id=WORKSPACE,
        name=name,
        roles={"host": _role("host", ["audio", "video", "screen"]), "guest": _role("guest", ["audio", "video"])},
        settings={},
        destinations={},
        plugins={},
        recordings=(recording,),
        created_at=now - timedelta(days=3),
        updated_at=now - timedelta(days=1),
    )
    await templates.insert(tx, made)
    return made


def _role(name: str, allowed: list[str]) -> Json:
    return {
        "name": name,
        "priority": 1,
        "publishParams": {
            "allowed": allowed,
            "audio": {"bitRate": 64, "codec": "opus"},
            "video": {"bitRate": 1200, "codec": "vp8", "frameRate": 25, "width": 1280, "height": 720},
            "screen": {"bitRate": 1024, "codec": "vp8", "frameRate": 10, "width": 1920, "height": 1080},
        },
        "subscribeParams": {"subscribeToRoles": ["host", "guest"], "maxSubsBitRate": 3200},
        "permissions": {"mute": name == "host", "endRoom": name == "host"},
    }


async def _room(tx: Tx, template: Template, name: str, now: datetime) -> Room:
    room = Room(RoomId(new_object_id()), WORKSPACE, template.id, name, "", True, {}, now, now)
    await rooms.insert(tx, room)
    return room


class _Cast:
    """Writes sessions with the people in them."""

    def __init__(self, tx: Tx, room: Room, template: Template, storage: LocalStorage, folder: Path) -> None:
        self._tx = tx
        self._room = room
        self._template = template
        self._storage = storage
        self._folder = folder
        self.played = ""
        self.failed = ""

    async def past_session(self, start: datetime) -> str:
        session = await self._session(self._room, start, start + 42 * _MINUTE)
        ada = await self._peer(session, "Ada Lovelace", "host", start, start + 42 * _MINUTE)
        grace = await self._peer(session, "Grace Hopper", "guest", start + 2 * _MINUTE, start + 40 * _MINUTE)
        alan = await self._peer(session, "Alan Turing", "guest", start + 5 * _MINUTE, start + 21 * _MINUTE)
        regular = await self._asset(session, ada, AssetKind.REGULAR, AssetState.COMPLETED, start)
        self.played = regular.id
        await self._journals(session, ada, regular, "regular", start, start + 42 * _MINUTE)
        screen = await self._asset(session, ada, AssetKind.SCREEN, AssetState.COMPLETED, start + 10 * _MINUTE)
        await self._journals(session, ada, screen, "screen", start + 10 * _MINUTE, start + 25 * _MINUTE)
        audio = await self._asset(session, grace, AssetKind.AUDIO, AssetState.RENDERED, start + 2 * _MINUTE)
        await self._journal(
            session, grace, audio, MediaKind.AUDIO, "regular", (start + 2 * _MINUTE, start + 40 * _MINUTE)
        )
        broken = await self._asset(session, alan, AssetKind.REGULAR, AssetState.FAILED, start + 5 * _MINUTE)
        self.failed = broken.id
        await self._journals(session, alan, broken, "regular", start + 5 * _MINUTE, start + 21 * _MINUTE)
        await self._told(session, "stream.recording.success", start + 43 * _MINUTE)
        return session.id

    async def live_session(self, start: datetime, room: Room) -> str:
        session = await self._session(room, start, None)
        for number, name in enumerate(("Katherine Johnson", "Dorothy Vaughan")):
            since = start + number * _MINUTE
            peer = await self._peer(session, name, "guest" if number else "host", since, None)
            asset = await self._asset(session, peer, AssetKind.REGULAR, AssetState.RECORDING, since)
            await self._journals(session, peer, asset, "regular", since, None)
        return session.id

    async def _session(self, room: Room, start: datetime, end: datetime | None) -> Session:
        session = Session(
            id=SessionId(new_object_id()),
            workspace_id=WORKSPACE,
            room_id=room.id,
            template_id=self._template.id,
            job_id=JobId(new_object_id()),
            state=SessionState.CLOSED if end else SessionState.OPEN,
            recording=StreamRecording(enabled=True),
            created_at=start,
            ended_at=end,
        )
        await sessions.insert(self._tx, session)
        return session

    async def _peer(self, session: Session, name: str, role: str, since: datetime, until: datetime | None) -> Peer:
        state = PeerState.LEFT if until else PeerState.JOINED
        user = name.split()[0].lower()
        peer = Peer(PeerId(new_uuid()), session.id, user, name, role, "", state, since, until)
        await peers.insert(self._tx, peer, "jti")
        return peer

    async def _asset(self, session: Session, peer: Peer, kind: AssetKind, state: AssetState, at: datetime) -> Asset:
        asset = Asset(
            id=AssetId(new_object_id()),
            workspace_id=WORKSPACE,
            room_id=session.room_id,
            session_id=session.id,
            job_id=session.job_id,
            peer_id=peer.id,
            user_id=peer.user_id,
            stream_id=StreamId(new_uuid()),
            kind=kind,
            state=AssetState.RECORDING,
            created_at=at,
        )
        facts = await self._file(asset, peer, session) if state is AssetState.COMPLETED else {}
        error = "journal 7f3a seg 4: crc mismatch at 81920." if state is AssetState.FAILED else ""
        asset = Asset(
            **{**{name: getattr(asset, name) for name in Asset.__slots__}, "state": state, "error": error, **facts}
        )
        await assets.insert(self._tx, asset)
        return asset

    async def _file(self, asset: Asset, peer: Peer, session: Session) -> dict[str, object]:
        """A short film in the store, with its sidecar, and what its row says of it."""
        film = self._folder / f"{asset.id}.mp4"
        film.write_bytes(_film())
        digest = hashlib.sha256(film.read_bytes()).hexdigest()
        stored = await self._storage.put(f"{asset.room_id}/{asset.id}.mp4", film, digest)
        sidecar = self._folder / f"{asset.id}.json"
        sidecar.write_text(json.dumps(_sidecar(asset.created_at)))
        told = await self._storage.put(
            f"{asset.room_id}/{asset.id}.json", sidecar, hashlib.sha256(sidecar.read_bytes()).hexdigest()
        )
        return {
            "path": stored.uri,
            "size_bytes": stored.size_bytes,
            "sha256": digest,
            "duration_ms": FILM_S * 1000,
            "completed_at": asset.created_at + 43 * _MINUTE,
            "metadata": {
                "sidecar": told.uri,
                "name": peer.name,
                "role": peer.role,
                "started_at": f"{asset.created_at:%Y-%m-%dT%H:%M:%SZ}",
                "offset_ms": round((asset.created_at - session.created_at).total_seconds() * 1000),
                "codec": {"video": "H264", "audio": "opus"},
                "resolution": {"width": 640, "height": 360},
                "gaps": {"count": 2, "total_ms": 1400, "lost_packets": 3, "by_cause": {"lost": 1, "muted": 1}},
            },
        }

    async def _journals(
        self, session: Session, peer: Peer, asset: Asset, source: str, since: datetime, until: datetime | None
    ) -> None:
        for kind in MediaKind:
            await self._journal(session, peer, asset, kind, source, (since, until))

    async def _journal(
        self,
        session: Session,
        peer: Peer,
        asset: Asset,
        kind: MediaKind,
        source: str,
        span: tuple[datetime, datetime | None],
    ) -> None:
        await journals.insert(
            self._tx,
            Journal(
                id=JournalId(new_uuid()),
                session_id=session.id,
                peer_id=peer.id,
                asset_id=asset.id,
                track=Track(TrackId(new_uuid()), asset.stream_id, kind, source),
                folder="journals/x",
                state=JournalState.SEALED if span[1] else JournalState.OPEN,
                opened_at=span[0],
                sealed_at=span[1],
            ),
        )

    async def _told(self, session: Session, kind: str, at: datetime) -> None:
        body = json.dumps({"version": "2.0", "type": kind, "data": {"session_id": session.id}})
        for number, url in enumerate(("https://hooks.example.com/isotape", "https://backup.example.com/in")):
            event = events.EventRow(EventId(new_uuid()), WORKSPACE, kind, session.room_id, session.id, body, at)
            await events.insert(self._tx, event)
            await deliveries.insert(self._tx, new_uuid(), event.id, url, at + number * _MINUTE)


def _sidecar(start: datetime) -> Json:
    """The part of a sidecar that the pages read: a lost second of picture, a muted part of sound."""
    lost = {"from_ms": 1000.0, "to_ms": 1400.0, "cause": "lost", "packets": 3, "frames": 1, "note": ""}
    muted = {"from_ms": 2000.0, "to_ms": 3000.0, "cause": "muted", "packets": 0, "frames": 0, "note": ""}
    return {
        "zero": {"session_ns": round(start.timestamp() * 1e9), "offset_ms": 0.0},
        "tracks": [{"kind": "video", "gaps": [lost]}, {"kind": "audio", "gaps": [muted]}],
    }


def _film() -> bytes:
    """Four seconds of a moving bar and a tone, as Chromium plays them: H264 and Opus in MP4."""
    import io

    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        audio = file.add_stream("libopus", rate=48_000)
        for number in range(FILM_S * 30):
            picture = np.zeros((360, 640, 3), np.uint8)
            picture[:, :, 1] = np.linspace(40, 110, 640, dtype=np.uint8)
            picture[:, number * 5 : number * 5 + 40] = (240, 200, 60)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            file.mux(video.encode(frame))
        for number in range(FILM_S * 50):
            wave = 0.2 * np.sin(2 * np.pi * 440 * (np.arange(960) + number * 960) / 48_000)
            sound = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], "fltp", "mono")
            sound.sample_rate, sound.pts, sound.time_base = 48_000, number * 960, Fraction(1, 48_000)
            file.mux(audio.encode(sound))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))
    return made.getvalue()
