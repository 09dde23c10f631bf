"""Rows of deliveries: one event on its way to one endpoint, with what the last attempt met.

Before it: isotape.events, which inserts one for each endpoint. After it: webhooks/deliver.py, which tries until it is told.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import insert as insert_row
from sqlalchemy import select, update

from isotape.db.engine import Tx
from isotape.db.tables import deliveries, events


class DeliveryState(StrEnum):
    """PENDING: told to nobody yet, tries go on. DELIVERED: acknowledged. FAILED: given up after the last try."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one attempt needs to know. `attempts` counts the tries so far."""

    id: str
    event_id: str
    event_type: str
    body: str
    url: str
    state: DeliveryState
    attempts: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a try met. status is None when no answer came."""

    state: DeliveryState
    attempts: int
    status: int | None
    error: str
    next_attempt_at: datetime | None


async def insert(tx: Tx, delivery_id: str, event_id: str, url: str, now: datetime) -> None:
    await tx.execute(
        insert_row(deliveries).values(
            id=delivery_id,
            event_id=event_id,
            url=url,
            state=DeliveryState.PENDING,
            next_attempt_at=now,
            created_at=now,
        )
    )


async def load(tx: Tx, delivery_id: str) -> Delivery | None:
    """For jobs, which act for no caller."""
    row = (
        await tx.execute(
            select(deliveries, events.c.type, events.c.body)
            .join(events, events.c.id == deliveries.c.event_id)
            .where(deliveries.c.id == delivery_id)
        )
    ).one_or_none()
    if row is None:
        return None
    return Delivery(row.id, row.event_id, row.type, row.body, row.url, DeliveryState(row.state), row.attempts)


async def is_next(tx: Tx, delivery: Delivery) -> bool:
    """Whether every older event of its session has been tried at this endpoint at least once."""
    own = select(events.c.session_id, events.c.sequence).where(events.c.id == delivery.event_id).subquery()
    older = (
        select(deliveries.c.id)
        .join(events, events.c.id == deliveries.c.event_id)
        .join(own, own.c.session_id == events.c.session_id)
        .where(events.c.sequence < own.c.sequence, deliveries.c.url == delivery.url)
        .where(deliveries.c.state == DeliveryState.PENDING, deliveries.c.attempts == 0)
        .limit(1)
    )
    return (await tx.execute(older)).first() is None


async def record(tx: Tx, delivery: Delivery, attempt: Attempt, now: datetime) -> bool:
    """Writes what the try met; False when another try of the same delivery has written since it was read."""
    result = await tx.execute(
        update(deliveries)
        .where(
            deliveries.c.id == delivery.id,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.attempts == delivery.attempts,
        )
        .values(
            state=attempt.state,
            attempts=attempt.attempts,
            last_status=attempt.status,
            last_error=attempt.error,
            next_attempt_at=attempt.next_attempt_at,
            delivered_at=now if attempt.state is DeliveryState.DELIVERED else None,
        )
    )
    return bool(result.rowcount == 1)
