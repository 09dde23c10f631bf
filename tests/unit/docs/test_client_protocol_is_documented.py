"""docs/guide/join.md names every method that clients may say, and every one that is refused."""

from pathlib import Path

import pytest

from isotape.signalling.messages import METHODS, REFUSED

GUIDE = (Path(__file__).parents[3] / "docs/guide/join.md").read_text()


@pytest.mark.parametrize("method", sorted([*METHODS, *REFUSED]))
def test_the_method_is_in_the_guide(method: str) -> None:
    assert f"`{method}`" in GUIDE
