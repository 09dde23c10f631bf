"""No spelling of an address and no trick of a name leads a webhook into the node's own network."""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from isotape.errors import Forbidden, Unavailable
from isotape.webhooks.address_guard import AddressGuard, is_public

pytestmark = pytest.mark.anyio

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.8 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::10.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::
3fff::1 4000::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1 ff0e::1 ::ffff:0:127.0.0.1
""".split()
PUBLIC = """
1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.169.0.1 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::808:808
2606:4700::1111 2a00:1450:4001::1 2003::1
""".split()


def _resolving(*answers: Sequence[str]) -> tuple[AddressGuard, list[str]]:
    """A guard whose resolver gives these answers in turn, and the names that it was asked for."""
    asked: list[str] = []
    turns = list(answers)

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return turns.pop(0)

    return AddressGuard([], resolve), asked


@pytest.mark.parametrize("text", PRIVATE)
async def test_a_private_address_is_refused(text: str) -> None:
    assert not is_public(ip_address(text))
    guard, _ = _resolving([text])
    with pytest.raises(Forbidden, match="not public"):
        await guard.check("https://hooks.example.com/x")


@pytest.mark.parametrize("text", PUBLIC)
async def test_a_public_address_is_reached(text: str) -> None:
    guard, _ = _resolving([text])
    target = await guard.check("https://hooks.example.com/x")
    assert (target.host, target.port, target.addresses) == ("hooks.example.com", 443, (str(ip_address(text)),))


async def test_one_private_address_among_public_ones_refuses_all() -> None:
    guard, _ = _resolving(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        await guard.check("https://hooks.example.com/")


async def test_a_name_is_resolved_once_so_a_second_answer_gains_nothing() -> None:
    guard, asked = _resolving(["8.8.8.8"], ["127.0.0.1"])
    assert (await guard.check("https://rebind.example.com/")).addresses == ("8.8.8.8",)
    assert asked == ["rebind.example.com"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "127.1",
        "017700000001",
        "[::1]",
        "[::ffff:7f00:1]",
        "localhost",
        "0",
        "①②⑦.0.0.1",
    ],
)
async def test_every_spelling_of_loopback_is_refused_by_the_real_resolver(host: str) -> None:
    with pytest.raises((Forbidden, Unavailable)):
        await AddressGuard([]).check(f"https://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:8080/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "https:///path",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com:99999/",
        "gopher://127.0.0.1",
        "",
    ],
)
async def test_only_https_on_a_webhook_port_leaves_the_node(url: str) -> None:
    guard, _ = _resolving(["8.8.8.8"])
    with pytest.raises(Forbidden) as refusal:
        await guard.check(url)
    assert "secret" not in refusal.value.message


async def test_an_allowed_network_is_reached_on_any_port_and_over_http() -> None:
    guard = AddressGuard(["127.0.0.1", "10.1.0.0/16", "::1"])
    assert (await guard.check("http://127.0.0.1:4000/x")).port == 4000
    assert (await guard.check("http://10.1.2.3/")).addresses == ("10.1.2.3",)
    assert (await guard.check("http://[::ffff:10.1.2.3]:81/")).port == 81
    for other in ("http://127.0.0.2/", "http://10.2.0.1/"):
        with pytest.raises(Forbidden):
            await guard.check(other)


async def test_a_name_that_does_not_resolve_is_tried_again_later() -> None:
    with pytest.raises(Unavailable, match=r"nowhere\.invalid"):
        await AddressGuard([]).check("https://nowhere.invalid/")
