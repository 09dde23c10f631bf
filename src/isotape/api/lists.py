"""Query parameters that every list shares: paging, and filters that take commas and repeats. Unknown ones are ignored, as 100ms
does."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from isotape.db.pages import DEFAULT_LIMIT, MAX_LIMIT, Page

# JSON as wire/rest.py makes it; its fields are described in docs/guide/rest.md.
JsonObject = dict[str, Any]


def _split(values: list[str]) -> list[str]:
    """`a,b` and `a` then `b` mean the same; an empty value means no filter."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


Several = Annotated[list[str], AfterValidator(_split), Field(default_factory=list)]


class ListQuery(BaseModel):
    """Where a page begins and how long it is. A limit beyond the bound is refused: a shorter page than asked for looks like the last."""

    start: str = Field("", description="The `last` of the page before; empty: from the newest.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Rows of this page.")

    @property
    def page(self) -> Page:
        return Page(self.start, self.limit)
