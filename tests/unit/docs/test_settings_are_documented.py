"""The guide names every setting, and no setting that is not there."""

import re
from pathlib import Path

from isotape.settings import Settings

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "operate.md"


def test_the_guide_lists_exactly_the_settings_of_the_code() -> None:
    documented = set(re.findall(r"^\| `(ISOTAPE_[A-Z_]+)`", GUIDE.read_text(), re.MULTILINE))
    assert documented == {f"ISOTAPE_{name.upper()}" for name in Settings.model_fields}
