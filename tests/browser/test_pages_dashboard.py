"""The dashboard in a real Chromium: what a person finds on each page, and that everybody can use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.kit.pages_site import Site, serve_pages

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
PHONE, DESK, WALL = (360, 780), (1280, 800), (1920, 1080)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serve_pages(tmp_path) as running:
        yield running


@contextmanager
def visit(browser: Browser, site: Site, size: tuple[int, int] = DESK, scheme: str = "light") -> Iterator[Page]:
    """A logged-in page that must neither log an error nor break its own policy."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        timezone_id="Asia/Kolkata",
        locale="en-GB",
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(site.url)
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/dashboard")
    yield page
    assert errors == []
    context.close()


def addresses(site: Site) -> dict[str, str]:
    rows = site.rows
    return {
        "sessions": "/dashboard",
        "session": f"/dashboard/sessions/{rows.past_session}",
        "session-live": f"/dashboard/sessions/{rows.live_session}",
        "asset": f"/dashboard/assets/{rows.played_asset}",
        "asset-failed": f"/dashboard/assets/{rows.failed_asset}",
        "rooms": "/dashboard/rooms",
        "templates": "/dashboard/templates",
        "template-roles": f"/dashboard/templates/{rows.template}",
        "template-recording": f"/dashboard/templates/{rows.template}/recording",
        "webhooks": "/dashboard/webhooks",
    }


def test_a_wrong_password_is_told_and_every_page_asks_for_the_login(browser: Browser, site: Site) -> None:
    page = browser.new_page()
    page.goto(site.url + "/dashboard/rooms")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not match")
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rooms")
    page.get_by_role("button", name="Log out").click()
    page.goto(site.url + "/dashboard/rooms")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_the_home_page_says_what_is_recorded_finished_and_failed(browser: Browser, site: Site) -> None:
    with visit(browser, site) as page:
        live = page.get_by_role("region", name="Now")
        expect(live).to_contain_text("customer-interviews")
        expect(live).to_contain_text("Katherine Johnson")
        expect(page.get_by_label("Step 3 of 5: rendered")).to_be_visible()
        expect(page.locator("#now")).to_contain_text("crc mismatch")
        # Kolkata is five and a half hours ahead, and the tooltip keeps UTC.
        time = page.locator("#past time").first
        assert time.get_attribute("title", timeout=1000).endswith("UTC")  # type: ignore[union-attr]
        assert "UTC" not in (time.text_content() or "UTC")


def test_the_past_narrows_while_one_types(browser: Browser, site: Site) -> None:
    with visit(browser, site) as page:
        find = page.get_by_label("Find")
        find.press_sequentially("hopper")
        expect(page.locator("#past tbody tr")).to_have_count(1)
        find.fill("nobody of this name")
        expect(page.locator("#past")).to_contain_text("No session fits")
        find.fill("")
        expect(page.locator("#past tbody tr")).to_have_count(1)


def test_an_asset_plays_seeks_to_a_link_and_steps_by_a_frame(browser: Browser, site: Site) -> None:
    with visit(browser, site) as page:
        page.goto(f"{site.url}/dashboard/assets/{site.rows.played_asset}?t=1.5")
        video = page.locator("video")
        expect(page.locator("[data-clock]")).to_have_text("0:01.500")
        page.get_by_role("button", name="Next frame").click()
        expect(page.locator("[data-clock]")).to_have_text("0:01.533")
        page.get_by_label("Speed").select_option("2")
        assert video.evaluate("film => film.playbackRate") == 2
        page.locator("[data-seek]").last.click()
        expect(page.locator("[data-clock]")).to_have_text("0:02.000")
        assert video.evaluate("film => [film.videoWidth, film.videoHeight]") == [640, 360]
        played = """async film => {
            film.muted = true
            await film.play()
            await new Promise(end => film.onended = end)
            return film.currentTime
        }"""
        assert video.evaluate(played) == pytest.approx(4.0, abs=0.1)


def test_verify_now_tells_a_good_file_from_a_changed_one(browser: Browser, site: Site, tmp_path: Path) -> None:
    with visit(browser, site) as page:
        page.goto(f"{site.url}/dashboard/assets/{site.rows.played_asset}")
        page.get_by_role("button", name="Verify now").click()
        expect(page.locator("#verified")).to_contain_text("The file matches")
        film = next((tmp_path / "assets").rglob(f"{site.rows.played_asset}.mp4"))
        content = bytearray(film.read_bytes())
        content[len(content) // 2] ^= 1
        film.write_bytes(content)
        page.get_by_role("button", name="Verify now").click()
        expect(page.locator("#verified")).to_contain_text("The file has changed")


def test_the_recording_tab_announces_and_saves_changes(browser: Browser, site: Site) -> None:
    with visit(browser, site) as page:
        page.goto(f"{site.url}/dashboard/templates/{site.rows.template}/recording")
        page.get_by_role("button", name="1920 × 1080").click()
        page.get_by_label("Maximum recording duration").fill("30")
        expect(page.get_by_text("Unsaved changes")).to_be_visible()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved. It holds from the next session on.")).to_be_visible()
        expect(page.get_by_label("Width")).to_have_value("1920")
        expect(page.get_by_label("Maximum recording duration")).to_have_value("30")


def test_a_refused_recording_policy_is_shown_again_with_what_is_wrong(browser: Browser, site: Site) -> None:
    address = f"{site.url}/dashboard/templates/{site.rows.template}/recording"
    with visit(browser, site) as page:
        page.goto(address)
        token = page.locator("input[name=csrf]").last.input_value()
        form = {"csrf": token, "width": "1281", "height": "720", "hours": "9999", "minutes": "30"}
        answer = page.request.post(address, form=form)
        assert answer.status == 400
        assert "A whole number from 1 to 336." in answer.text()
        assert 'value="9999"' in answer.text()
        page.goto(address)
        expect(page.get_by_label("Enable Stream Recording")).to_be_checked()
        expect(page.get_by_label("Width")).to_have_value("1280")


def test_a_room_is_made_with_a_code_for_each_role_and_closed_again(browser: Browser, site: Site) -> None:
    with visit(browser, site) as page:
        page.goto(site.url + "/dashboard/rooms")
        page.get_by_label("Name").fill("all-hands")
        page.get_by_label("Template").select_option(label="default")
        page.get_by_role("button", name="Create room").click()
        room = page.locator(".room", has_text="all-hands")
        expect(room.locator(".code-role")).to_have_text(["guest", "host"])
        href = room.get_by_role("button", name="Open all-hands as host").get_attribute("href")
        room.get_by_role("button", name="Close all-hands to new joins").click()
        expect(page.locator(".room", has_text="all-hands")).to_contain_text("closed to joins")
        answer = page.request.get(f"{site.url}{href}")
        assert answer.status == 403
        assert "This room is closed" in answer.text()


def test_a_form_without_the_token_of_the_login_changes_nothing(browser: Browser, site: Site) -> None:
    with visit(browser, site) as page:
        url = f"{site.url}/dashboard/rooms"
        for form in ({"name": "x"}, {"name": "x", "csrf": "guess"}):
            assert page.request.post(url, form=form).status == 403
        elsewhere = {"sec-fetch-site": "cross-site", "x-csrf-token": "guess"}
        assert page.request.post(url, form={"name": "x"}, headers=elsewhere).status == 403
        page.goto(url)
        expect(page.locator(".room")).to_have_count(2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_page_passes_axe_and_fits_a_phone_and_a_wall(browser: Browser, site: Site, pictures: Path) -> None:
    for size, scheme in ((PHONE, "light"), (DESK, "dark"), (WALL, "light")):
        with visit(browser, site, size, scheme) as page:
            for name, address in addresses(site).items():
                page.goto(site.url + address)
                page.wait_for_load_state("networkidle")
                assert _axe(page) == [], f"{name} at {size}, {scheme}"
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                    f"{name} is wider than {size}"
                )
    with visit(browser, site) as page:
        for name, address in addresses(site).items():
            page.goto(site.url + address)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=pictures / f"{name}.png")


def _axe(page: Page) -> list[str]:
    """What axe finds, as `rule: element`. Injected past the page's own policy, which the page itself must keep."""
    page.context.new_cdp_session(page).send("Page.setBypassCSP", {"enabled": True})
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run()).violations.map(v => `${v.id}: ${v.nodes[0].html}`)")
    return list(found)


def test_an_empty_node_says_what_to_do_first(browser: Browser, tmp_path: Path) -> None:
    with serve_pages(tmp_path, empty=True) as site, visit(browser, site) as page:
        expect(page.get_by_text("Nobody is in a room.")).to_be_visible()
        expect(page.get_by_text("No session is over yet.")).to_be_visible()
        page.goto(site.url + "/dashboard/webhooks")
        expect(page.get_by_text("Nothing was sent yet.")).to_be_visible()
