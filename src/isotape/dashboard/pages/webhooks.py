"""Webhooks: where events go, and how each delivery went: what was sent, what was answered, when it is tried again."""

from fastapi import APIRouter, Request, Response

from isotape.dashboard import reads
from isotape.dashboard.look import Look
from isotape.dashboard.parts import DashboardParts


class WebhookPages:
    def __init__(self, parts: DashboardParts, look: Look) -> None:
        self._parts = parts
        self._look = look

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/webhooks", self.all, methods=["GET"])

    async def all(self, request: Request) -> Response:
        async with self._parts.database.connect() as tx:
            told = await reads.deliveries_of(tx, self._parts.workspace)
        return self._look.page(request, "webhooks.html", {"deliveries": told, "urls": self._parts.webhook_urls})
