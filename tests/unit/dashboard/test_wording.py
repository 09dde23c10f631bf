"""Numbers and moments as people read them, and forms that say what is wrong."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from isotape.dashboard import wording
from isotape.dashboard.fields import Fields
from isotape.dashboard.headers import dashboard_headers, join_headers
from isotape.dashboard.pages.login import _own_page


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0:00"), (59_499, "0:59"), (59_500, "1:00"), (3_723_000, "1:02:03"), (36_000_000, "10:00:00")]
)
def test_a_duration_reads_as_on_a_clock(ms: int, text: str) -> None:
    assert wording.duration(ms) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0.0 kB"), (99_900, "99.9 kB"), (12_345_678, "12.3 MB"), (5_000_000_000, "5,000.0 MB")],
)
def test_a_size_reads_in_megabytes(size_bytes: int, text: str) -> None:
    assert wording.size(size_bytes) == text


def test_a_moment_carries_utc_for_the_script_and_for_the_tooltip() -> None:
    at = datetime(2026, 11, 24, 23, 30, 5, 41_000, timezone(timedelta(hours=1)))
    html = wording.moment(at)
    assert 'datetime="2026-11-24T22:30:05.041Z"' in html
    assert "2026-11-24 22:30:05 UTC" in html
    assert wording.moment(datetime(2026, 1, 1, tzinfo=UTC), "clock").count("00:00:00 UTC") == 2


@pytest.mark.parametrize("text", ["", "-1", "0", "337", "1e3", "72.5", "\u0663", "9" * 400])
def test_a_number_out_of_bounds_is_refused_with_its_bounds(text: str) -> None:
    fields = Fields({"hours": text})
    fields.number("hours", 1, 336)
    assert fields.error("hours") == "A whole number from 1 to 336."
    assert fields.status == 400


def test_what_was_typed_is_shown_again_beside_its_error() -> None:
    fields = Fields({"name": " <b>no</b> "})
    fields.name("name")
    assert fields.text("name") == "<b>no</b>"
    assert "letters" in fields.error("name")


def test_a_host_header_cannot_widen_the_policy_of_the_join_page() -> None:
    policy = join_headers("evil.example; script-src *", "https://rec.example")["Content-Security-Policy"]
    assert "evil" not in policy
    assert "connect-src 'self' ws://rec.example wss://rec.example" in policy
    assert "script-src" not in policy


def test_no_page_may_be_framed_or_run_scripts_of_others() -> None:
    for headers in (dashboard_headers(), join_headers("a:1", "")):
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize(
    "address",
    ["https://evil.example", "//evil.example", "/dashboardevil", "/dashboard/\\evil", "javascript:alert(1)", ""],
)
def test_the_login_leads_to_our_own_pages_only(address: str) -> None:
    assert _own_page(address) == "/dashboard"
    assert _own_page("/dashboard/rooms?x=1") == "/dashboard/rooms?x=1"
