"""Settings: text of the environment becomes values, and a wrong one names itself."""

import pytest
from pydantic import ValidationError

from isotape.settings import Settings


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOTAPE_VIDEO_CODECS", "VP8, H264")
    monkeypatch.setenv("ISOTAPE_WEBHOOK_ALLOW", "10.0.0.0/8,127.0.0.1")
    settings = Settings()
    assert settings.video_codecs == ("VP8", "H264")
    assert settings.webhook_allow == ("10.0.0.0/8", "127.0.0.1")


@pytest.mark.parametrize("codecs", ["", "H263", "VP8,,nope"])
def test_an_unknown_codec_is_refused(codecs: str) -> None:
    with pytest.raises(ValidationError, match="choose from"):
        Settings(video_codecs=codecs)  # type: ignore[arg-type]


def test_an_address_that_nobody_can_reach_needs_another_one_to_announce() -> None:
    with pytest.raises(ValidationError, match="ISOTAPE_RTC_IP"):
        Settings(host="0.0.0.0")
    settings = Settings(host="0.0.0.0", rtc_ip="192.0.2.1")  # type: ignore[arg-type]
    assert settings.rtc_bind == "0.0.0.0"
    assert settings.rtc_announce == ("192.0.2.1",)


def test_both_address_families_are_announced_and_only_the_listener_needs_brackets() -> None:
    both = Settings(host="::", rtc_ip="192.0.2.1, 2001:db8::1")  # type: ignore[arg-type]
    assert both.rtc_bind == "[::]"
    assert both.rtc_announce == ("192.0.2.1", "2001:db8::1")
    assert Settings(host="::1").rtc_announce == ("::1",)
    with pytest.raises(ValidationError, match="rtc_ip"):
        Settings(rtc_ip="192.0.2.1,nowhere")  # type: ignore[arg-type]


def test_the_secret_is_not_shown() -> None:
    assert "hush" not in repr(Settings(app_secret="hush"))  # type: ignore[arg-type]
