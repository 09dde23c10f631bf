"""`python -m bench [--quick] [--only cost|files|leave|browser]`: prints the tables; about 15 minutes once built, 3 with --quick.

Every process that is started is ended by its pid; all traffic stays on loopback or in a
network namespace of its own.
"""

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import browser, cost, files, leave
from bench.figures import Table
from bench.release import Release, build_release

Measurement = Callable[[Release, Path, bool], Awaitable[Table]]

_MEASUREMENTS: dict[str, Measurement] = {
    "cost": cost.measure,
    "files": files.measure,
    "leave": leave.measure,
    "browser": browser.measure,
}


async def _run(wanted: list[str], quick: bool, folder: Path) -> None:
    release = await asyncio.to_thread(build_release, folder)
    for name in wanted:
        below = folder / name
        below.mkdir()
        table = await _MEASUREMENTS[name](release, below, quick)
        print(table.text(), flush=True)


def _machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, load before the start {load}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pairs, shorter media")
    parser.add_argument("--only", choices=_MEASUREMENTS, action="append", help="one measurement; may be repeated")
    parser.add_argument("--folder", type=Path, help="where to work (about 6 GB); default: the temporary folder")
    options = parser.parse_args()
    print(_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="isotape-bench-", dir=options.folder) as folder:
        asyncio.run(_run(options.only or list(_MEASUREMENTS), options.quick, Path(folder)))


if __name__ == "__main__":
    main()
