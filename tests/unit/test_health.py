"""/livez, /readyz and /metrics of a whole node, and how it ends when its media core dies."""

from pathlib import Path

import httpx2
import pytest

from tests.kit.node import Node, running_node

pytestmark = pytest.mark.anyio


async def test_a_running_node_is_alive_and_ready_and_counts(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        assert await _status(node, "/livez") == 200
        assert await _status(node, "/readyz") == 200
        metrics = (await _get(node, "/metrics")).text
        assert "isotape_live_peers 0.0" in metrics
        assert "isotape_signalling_sockets 0.0" in metrics
        assert "isotape_media_" in metrics


async def test_a_node_whose_media_core_died_takes_no_joins(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        node.server.engine.failed.set()
        answer = await _get(node, "/readyz")
        assert answer.status_code == 503
        assert "media core" in answer.json()["status"]


async def _get(node: Node, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=node.server.url, trust_env=False) as client:
        return await client.get(path)


async def _status(node: Node, path: str) -> int:
    return (await _get(node, path)).status_code
