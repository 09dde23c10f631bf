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
    assert Settings(host="0.0.0.0", rtc_ip="192.0.2.1").rtc_bind == "0.0.0.0"


def test_the_secret_is_not_shown() -> None:
    assert "hush" not in repr(Settings(app_secret="hush"))  # type: ignore[arg-type]
