"""Tables of figures as they are printed and quoted: Markdown, with what was measured as the title."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """One question with its rows. Notes say what must be known to read them."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        assert len(cells) == len(self.columns), cells
        self.rows.append(cells)

    def text(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        notes = "".join(f"\n* {note}" for note in self.notes)
        return f"\n## {self.title}\n\n{table}\n{notes}\n"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and range: `9.8 (9.5–10.4)`."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def ratio_of_pairs(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Median over the pairs of theirs divided by ours, with its range: above 1 means that we need less."""
    return f"{spread([their / our for our, their in zip(ours, theirs, strict=True)], 2)} ×"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-round(share * 100) * len(ordered) // 100) - 1))]
