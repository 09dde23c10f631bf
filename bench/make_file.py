"""`python -m bench.make_file OUT JOURNAL…`: journals to a finished file, as the server's job does it: plan, render, verify.

A program of its own, so that its start counts as that of the peer's programs does. Prints what each step took, as JSON.
"""

import json
import sys
import time
from pathlib import Path

from isotape.assets.packets import read
from isotape.assets.plan import plan
from isotape.assets.render import render
from isotape.assets.verify import verify
from isotape.model import AssetKind


def main() -> None:
    out, *journals = (Path(argument) for argument in sys.argv[1:])
    took: dict[str, float] = {}
    begun = time.monotonic()
    planned = plan([read(journal) for journal in journals], AssetKind.REGULAR)
    assert planned is not None
    took["plan"] = time.monotonic() - begun
    begun = time.monotonic()
    rendered = render(planned, out)
    took["render"] = time.monotonic() - begun
    begun = time.monotonic()
    verify(planned, rendered)
    took["verify"] = time.monotonic() - begun
    print(json.dumps({**took, "frames": rendered.video_frames, "sounds": rendered.audio_packets}))


if __name__ == "__main__":
    main()
