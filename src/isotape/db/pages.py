"""One page of a list: how every list of the REST API is cut.

Ids are time-ordered, so the newest row has the greatest id and a page is `id < start ORDER BY id DESC`: rows that arrive while
somebody turns pages neither repeat nor hide another.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select

# 100ms' own: its SDK takes a shorter first page for the last one.
DEFAULT_LIMIT = 10
MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Up to `limit` rows after the row with id `start`; an empty `start` begins with the newest."""

    start: str = ""
    limit: int = DEFAULT_LIMIT


def cut(query: Select[Any], key: Column[str], page: Page) -> Select[Any]:
    """`query` narrowed to the page, newest first."""
    after = query.where(key < page.start) if page.start else query
    return after.order_by(key.desc()).limit(page.limit)
