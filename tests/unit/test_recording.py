"""The recording policy, case by case."""

import itertools
from collections.abc import Sequence

import pytest

from isotape.ids import AssetId, StreamId, TemplateId, TrackId, WorkspaceId
from isotape.model import AssetKind, MediaKind, StreamRecording, Template, Track
from isotape.recording import Decision, History, OpenAsset, decide, policy_of
from tests.kit.moments import NOON


def audio(track: str, stream: str = "cam", source: str = "regular") -> Track:
    return Track(TrackId(track), StreamId(stream), MediaKind.AUDIO, source)


def video(track: str, stream: str = "cam", source: str = "regular") -> Track:
    return Track(TrackId(track), StreamId(stream), MediaKind.VIDEO, source)


class Taker:
    """One peer, offer after offer."""

    def __init__(self) -> None:
        self.assets: tuple[OpenAsset, ...] = ()
        self.is_renewing = False
        self._parts: dict[StreamId, int] = {}
        self._ids = (AssetId(f"asset{number}") for number in itertools.count(1))

    def offer(self, *tracks: Track) -> Decision:
        history = History(lambda: next(self._ids), self._parts, self.is_renewing)
        decision = decide(self.assets, tracks, history)
        for asset in decision.created:
            self._parts[asset.stream_id] = max(asset.part, self._parts.get(asset.stream_id, 0))
        self.assets = decision.assets
        return decision


def begun(decision: Decision) -> list[tuple[str, str]]:
    return [(track.track_id, asset) for track, asset in decision.begun]


def kinds(assets: Sequence[OpenAsset]) -> list[tuple[str, AssetKind]]:
    return [(asset.id, asset.kind) for asset in assets]


def test_microphone_and_camera_share_one_regular_asset_in_either_order() -> None:
    for first, second in ((audio("a"), video("v")), (video("v"), audio("a"))):
        taker = Taker()
        taker.offer(first)
        decision = taker.offer(first, second)
        assert begun(decision) == [(second.track_id, "asset1")]
        assert kinds(decision.assets) == [("asset1", AssetKind.REGULAR)]


def test_an_offer_without_tracks_creates_nothing() -> None:
    assert Taker().offer() == Decision(assets=())


def test_a_microphone_alone_is_an_audio_asset_until_a_camera_comes() -> None:
    taker = Taker()
    assert kinds(taker.offer(audio("a")).created) == [("asset1", AssetKind.AUDIO)]
    decision = taker.offer(audio("a"), video("v"))
    assert decision.promoted == ("asset1",)
    assert decision.created == ()


def test_both_in_one_offer_are_created_as_regular_and_not_promoted() -> None:
    decision = Taker().offer(audio("a"), video("v"))
    assert kinds(decision.created) == [("asset1", AssetKind.REGULAR)]
    assert decision.promoted == ()


def test_the_same_offer_again_changes_nothing() -> None:
    taker = Taker()
    before = taker.offer(audio("a"), video("v"))
    again = taker.offer(audio("a"), video("v"))
    assert again == Decision(assets=before.assets)


def test_a_muted_track_stays_in_its_journal() -> None:
    taker = Taker()
    taker.offer(audio("a"))
    muted = Track(TrackId("a"), StreamId("cam"), MediaKind.AUDIO, "regular", muted=True)
    assert taker.offer(muted).begun == ()


def test_a_camera_that_goes_and_comes_back_under_new_ids_stays_in_the_asset() -> None:
    taker = Taker()
    taker.offer(audio("a"), video("v"))
    gone = taker.offer(audio("a"))
    assert (gone.ended, gone.finished) == (("v",), ())
    back = taker.offer(audio("a"), video("v2", stream="another"))
    assert begun(back) == [("v2", "asset1")]
    assert back.created == ()


def test_unpublishing_everything_leaves_the_regular_asset_open() -> None:
    taker = Taker()
    taker.offer(audio("a"))
    decision = taker.offer()
    assert (decision.ended, decision.finished) == (("a",), ())
    assert [asset.id for asset in decision.assets] == ["asset1"]


def test_a_share_and_its_sound_are_one_screen_asset_that_ends_with_its_last_track() -> None:
    taker = Taker()
    mic = audio("a")
    taker.offer(mic)
    picture, sound = video("s", "share", "screen"), audio("t", "share", "screen")
    assert kinds(taker.offer(mic, picture).created) == [("asset2", AssetKind.SCREEN)]
    assert begun(taker.offer(mic, picture, sound)) == [("t", "asset2")]
    assert taker.offer(mic, sound).finished == ()
    last = taker.offer(mic)
    assert (last.ended, last.finished) == (("t",), ("asset2",))


def test_a_share_of_sound_alone_is_a_screen_asset() -> None:
    assert kinds(Taker().offer(audio("t", "share", "screen")).created) == [("asset1", AssetKind.SCREEN)]


def test_sharing_twice_makes_two_screen_assets() -> None:
    taker = Taker()
    taker.offer(video("s", "share", "screen"))
    taker.offer()
    decision = taker.offer(video("s2", "share2", "screen"))
    assert kinds(decision.created) == [("asset2", AssetKind.SCREEN)]


def test_a_share_that_replaces_another_in_one_offer_is_a_second_asset() -> None:
    taker = Taker()
    taker.offer(video("s", "share", "screen"))
    decision = taker.offer(video("s2", "share2", "screen"))
    assert decision.finished == ("asset1",)
    assert begun(decision) == [("s2", "asset2")]


def test_two_shares_at_once_are_two_assets() -> None:
    decision = Taker().offer(video("s", "share", "screen"), video("s2", "share2", "screen"))
    assert begun(decision) == [("s", "asset1"), ("s2", "asset2")]


def test_the_same_stream_shared_again_is_its_second_part() -> None:
    taker = Taker()
    taker.offer(video("s", "share", "screen"))
    taker.offer()
    assert [asset.part for asset in taker.offer(video("s2", "share", "screen")).created] == [2]


@pytest.mark.parametrize(
    ("track", "kind"),
    [(video("x", "own", "plugin"), AssetKind.REGULAR), (audio("x", "own", "audioplaylist"), AssetKind.AUDIO)],
)
def test_any_other_source_is_an_asset_of_its_stream(track: Track, kind: AssetKind) -> None:
    taker = Taker()
    taker.offer(audio("a"))
    decision = taker.offer(audio("a"), track)
    assert kinds(decision.created) == [("asset2", kind)]
    assert taker.offer(audio("a")).finished == ("asset2",)


def test_sources_never_share_an_asset_even_on_one_stream() -> None:
    decision = Taker().offer(video("v"), audio("p", "cam", "plugin"))
    assert [(asset.id, asset.part) for asset in decision.created] == [("asset1", 1), ("asset2", 2)]


def test_a_second_camera_at_the_same_time_gets_its_own_asset() -> None:
    taker = Taker()
    taker.offer(video("v"))
    decision = taker.offer(video("v"), video("w", "cam2"))
    assert begun(decision) == [("w", "asset2")]
    assert taker.offer(video("v")).finished == ("asset2",)


def test_a_peer_that_comes_back_after_a_restart_goes_on_in_its_assets() -> None:
    taker = Taker()
    taker.assets = (
        OpenAsset(AssetId("old1"), AssetKind.REGULAR, "regular", StreamId("cam")),
        OpenAsset(AssetId("old2"), AssetKind.SCREEN, "screen", StreamId("share")),
    )
    decision = taker.offer(audio("a"), video("v"), video("s", "share", "screen"))
    assert begun(decision) == [("a", "old1"), ("v", "old1"), ("s", "old2")]
    assert (decision.created, decision.finished) == ((), ())


def test_a_share_that_did_not_come_back_is_finished() -> None:
    taker = Taker()
    taker.assets = (OpenAsset(AssetId("old"), AssetKind.SCREEN, "screen", StreamId("share")),)
    assert taker.offer(audio("a")).finished == ("old",)


def test_a_client_that_makes_its_connections_anew_keeps_its_assets_under_new_ids() -> None:
    taker = Taker()
    taker.offer(audio("a"), video("v"), video("s", "share", "screen"))
    taker.is_renewing = True
    assert taker.offer().finished == ()
    one = taker.offer(audio("a2", "cam2"))
    two = taker.offer(audio("a2", "cam2"), video("v2", "cam2"))
    three = taker.offer(audio("a2", "cam2"), video("v2", "cam2"), video("s2", "share2", "screen"))
    assert [begun(decision) for decision in (one, two, three)] == [
        [("a2", "asset1")],
        [("v2", "asset1")],
        [("s2", "asset2")],
    ]
    taker.is_renewing = False
    assert taker.offer(audio("a2", "cam2"), video("v2", "cam2"), video("s2", "share2", "screen")).finished == ()


def test_two_shares_that_come_back_under_new_ids_go_to_one_asset_each() -> None:
    taker = Taker()
    taker.offer(video("s", "share", "screen"), video("t", "share2", "screen"))
    taker.is_renewing = True
    taker.offer()
    decision = taker.offer(video("s2", "new", "screen"), video("t2", "new2", "screen"))
    assert begun(decision) == [("s2", "asset1"), ("t2", "asset2")]


def template(*recordings: dict[str, object]) -> Template:
    return Template(TemplateId("t"), WorkspaceId("w"), "name", {}, {}, {}, {}, recordings, NOON, NOON)


def test_a_template_without_recordings_does_not_record() -> None:
    assert policy_of(template()) == StreamRecording(enabled=False)


def test_a_disabled_stream_recording_is_an_object_without_enabled() -> None:
    assert policy_of(template({"streamRecording": {"width": 1920, "height": 1080}})).enabled is False


def test_the_policy_takes_what_the_template_says_and_defaults_for_the_rest() -> None:
    config = {"maxDuration": 60, "presignDuration": 0, "streamRecording": {"enabled": True, "width": 640}}
    assert policy_of(template(config)) == StreamRecording(True, 640, 720, 60, 259_200)
