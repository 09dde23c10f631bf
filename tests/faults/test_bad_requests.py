"""Bad tokens, bad frames, floods and bad bodies on a live node while a peer records: named errors, and the recording is what was sent.

What a frame may look like in detail is tested in tests/story; here the whole process is under attack and its log is read afterwards.
"""

import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from websockets.exceptions import ConnectionClosed

from isotape.auth.credentials import Credentials, load_or_make
from isotape.auth.tokens import AppClaims, sign_app, sign_management
from isotape.clock import SystemClock
from tests.kit import sent_media
from tests.kit.client import Client, Refused, client
from tests.kit.process import ServedNode, served_node
from tests.kit.publisher import Publisher, sending_peer
from tests.kit.until import until

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

_PINGS = 10_000
_MAX_FRAME_BYTES = 1 << 20
# RFC 6455: a message that is too big.
_TOO_BIG = 1009
_REFUSED = 4001


@dataclass
class UnderAttack:
    """The node, the room that is recorded in it, and every token and secret that must not be read in its log."""

    node: ServedNode
    room: str
    credentials: Credentials
    secrets: list[str] = field(default_factory=list)

    def keep(self, token: str) -> str:
        self.secrets.append(token)
        return token

    def token(self, room: str | None = None, role: str = "host") -> str:
        claims = AppClaims(room or self.room, "mallory", role)
        return self.keep(sign_app(self.credentials, claims, SystemClock().now()))

    def forged(self, key: str | None, algorithm: str, **changes: Any) -> str:
        """The claims of a good token, changed and signed in another way."""
        claims = jwt.decode(self.token(), options={"verify_signature": False})
        return self.keep(jwt.encode({**claims, **changes}, key, algorithm=algorithm))


@asynccontextmanager
async def recording(folder: Path, publisher: Publisher) -> AsyncIterator[UnderAttack]:
    """A peer that records for as long as the block lasts; then what it sent is compared with what was kept, and the log is read."""
    media = sent_media.Media(folder)
    async with served_node(folder) as node:
        room, code = await node.make_room()
        found = load_or_make(node.server.settings.data_dir / "credentials.json")
        attack = UnderAttack(node, room, found, [found.app_secret, node.api.headers["authorization"].split()[1]])
        async with sending_peer(publisher, node.server.url, code, "alice") as peer:
            attack.keep(peer.client.token)
            await media.begin(peer)
            await until(lambda: peer.sent("video"))
            yield attack
            sent = await media.end(peer)
            await peer.leave()
        (asset,) = await node.assets(room, 1)
        kept = {sent_media.kind_of(folder): sent_media.in_journal(folder) for folder in node.journal_folders()}
        assert kept == sent
        assert sent_media.count_pictures(await node.download(asset, folder)) == node.pictures(asset)
        _check_log(attack)
        assert await node.server.stop() == 0


def _check_log(attack: UnderAttack) -> None:
    text = attack.node.server.text()
    assert attack.node.server.is_running
    assert "Traceback" not in text
    for secret in attack.secrets:
        assert secret not in text
        assert secret.rpartition(".")[2] not in text or not secret.rpartition(".")[2]


_TOKENS: dict[str, tuple[Callable[[UnderAttack], str], int]] = {
    "nonsense": (lambda attack: attack.keep("not.a.token"), 401),
    "alg none": (lambda attack: attack.forged(None, "none"), 401),
    "wrong key": (lambda attack: attack.forged("another key of thirty-two bytes!", "HS256"), 401),
    "another algorithm": (lambda attack: attack.forged(attack.credentials.app_secret * 2, "HS512"), 401),
    "expired": (lambda attack: attack.forged(attack.credentials.app_secret, "HS256", exp=1_000_000_000), 401),
    "no expiry": (lambda attack: attack.forged(attack.credentials.app_secret, "HS256", exp=None), 401),
    "not yet": (lambda attack: attack.forged(attack.credentials.app_secret, "HS256", nbf=9_999_999_999), 401),
    "a number too large": (lambda attack: attack.forged(attack.credentials.app_secret, "HS256", exp=10**30), 401),
    "a foreign access key": (lambda attack: attack.forged(attack.credentials.app_secret, "HS256", access_key="x"), 401),
    "a management token": (
        lambda attack: attack.keep(sign_management(attack.credentials, SystemClock().now(), timedelta(hours=1))),
        401,
    ),
    "a room that is not there": (lambda attack: attack.token(room="f" * 24), 404),
    "a role that is not there": (lambda attack: attack.token(role="admin"), 403),
}


async def test_tokens_that_open_nothing_are_refused_by_name_at_both_doors(tmp_path: Path, publisher: Publisher) -> None:
    async with recording(tmp_path, publisher) as attack:
        for name, (make, status) in _TOKENS.items():
            token = make(attack)
            stranger = Client(attack.node.server.url, token)
            answer = await stranger.init()
            # The SDK would try a 404 of /init again and again.
            assert answer.status_code == (403 if status == 404 else status), name
            assert answer.json()["message"], name
            await stranger.open_socket(f"{attack.node.server.url.replace('http', 'ws')}/ws")
            assert (await stranger.notice("on-error"))["code"] == status, name
            assert await stranger.closed() == _REFUSED, name


async def test_a_peer_of_another_room_cannot_take_the_seat_of_the_recorded_one(
    tmp_path: Path, publisher: Publisher
) -> None:
    async with recording(tmp_path, publisher) as attack:
        other, _code = await attack.node.make_room()
        session = await attack.node.session(attack.room)
        (victim,) = [peer["id"] for peer in session["peers"].values()]
        for room in (attack.room, other):
            thief = Client(attack.node.server.url, attack.token(room=room), peer_id=victim)
            assert (await thief.init()).status_code == 409


async def test_frames_and_offers_without_measure_cost_only_their_sender(tmp_path: Path, publisher: Publisher) -> None:
    async with recording(tmp_path, publisher) as attack:
        url = attack.node.server.url
        async with client(url, attack.token()) as one:
            await one.join()
            for sdp in _monstrous_offers(one.book.sdp()):
                with pytest.raises(Refused) as refused:
                    await one.request("offer", desc={"type": "offer", "sdp": sdp}, tracks={})
                assert 400 <= refused.value.code < 500
                assert refused.value.message
            assert await one.request("ping", timestamp=5) == {"timestamp": 5}
            await one.send_text("x" * (_MAX_FRAME_BYTES + 1))
            assert (await one.unaddressed_error())["code"] == 413
            assert await one.request("ping", timestamp=6) == {"timestamp": 6}
            with suppress(ConnectionClosed):
                await one.send_text("x" * (8 * _MAX_FRAME_BYTES))
            assert await one.closed() == _TOO_BIG


def _monstrous_offers(sdp: str) -> list[str]:
    candidate = "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"
    section = sdp[sdp.index("m=") :]
    return [
        "",
        "v=0",
        "\x00\xff" * 1000,
        sdp.replace("a=fingerprint", "a=finger"),
        sdp.replace("a=ice-ufrag", "a=ice-nothing"),
        sdp + section * 1000,
        sdp + candidate * 10_000,
        sdp[: len(sdp) // 2],
    ]


async def test_ten_thousand_pings_delay_nobody_else(tmp_path: Path, publisher: Publisher) -> None:
    async with recording(tmp_path, publisher) as attack, client(attack.node.server.url, attack.token()) as flood:
        await flood.join()
        for number in range(_PINGS):
            await flood.send_text(json.dumps({"method": "ping", "params": {"timestamp": number}, "id": str(number)}))
        async with client(attack.node.server.url, attack.token()) as calm:
            await calm.join()
            assert await calm.request("ping", timestamp=5) == {"timestamp": 5}


async def test_bad_bodies_and_paths_of_the_api_get_named_errors(tmp_path: Path, publisher: Publisher) -> None:
    async with recording(tmp_path, publisher) as attack:
        api = attack.node.api
        bodies = (b"{", b"[]", b"17", b'{"name":7}', b"\xff\xfe", b"[" * 100_000, b'{"template_id":"nothing"}')
        for path in ("/rooms", "/templates", f"/rooms/{attack.room}", f"/room-codes/room/{attack.room}"):
            for body in bodies:
                answer = await api.post(path, content=body, headers={"content-type": "application/json"})
                assert answer.status_code < 500, (path, body[:20])
        for path in (
            "/rooms/x",
            "/sessions/" + "f" * 24,
            "/recording-assets/..%2f..",
            "/recording-assets?start=%00&limit=-1",
        ):
            answer = await api.get(path)
            assert 400 <= answer.status_code < 500, path
        for name, (make, _status) in _TOKENS.items():
            if name != "a management token":
                headers = {"Authorization": f"Bearer {make(attack)}"}
                assert (await api.get("/rooms", headers=headers)).status_code == 401, name
        async with httpx2.AsyncClient(trust_env=False) as http:
            unsigned = f"{attack.node.server.url}/files/{uuid.uuid4()}.mp4?expires=9999999999&signature=x"
            assert (await http.get(unsigned)).status_code in (403, 404)
