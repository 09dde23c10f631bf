"""The fields of a form as they were sent, and what is wrong with each. Pure.

Before it: a form that a person sent. After it: a change, or the same page with every word still there.
"""

import re
from collections.abc import Mapping

# The characters of 100ms names.
_NAME = re.compile(r"[A-Za-z0-9 .\-:_]{1,128}\Z")


class Fields:
    """errors: the sentence to show beside a field, by its name."""

    def __init__(self, sent: Mapping[str, str]) -> None:
        self._sent = sent
        self.errors: dict[str, str] = {}

    @property
    def status(self) -> int:
        return 400 if self.errors else 200

    def text(self, field: str) -> str:
        return self._sent.get(field, "").strip()

    def error(self, field: str) -> str:
        """The sentence beside the field, empty when nothing is wrong with it."""
        return self.errors.get(field, "")

    def refuse(self, field: str, why: str) -> None:
        self.errors.setdefault(field, why)

    def name(self, field: str) -> str:
        """A name as 100ms allows it."""
        text = self.text(field)
        if not _NAME.match(text):
            self.refuse(field, "1 to 128 letters, digits, spaces and . - : _")
        return text

    def number(self, field: str, least: int, most: int, *, even: bool = False) -> int:
        """A whole number within bounds; `least` stands in for one that is refused."""
        text = self.text(field)
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not least <= number <= most or (even and number % 2):
            self.refuse(field, f"{'An even' if even else 'A whole'} number from {least:,} to {most:,}.")
            return least
        return number
