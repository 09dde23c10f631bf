"""A release build of this checkout, beside whatever is installed: an editable install holds a debug build, which nobody should measure."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.kit.publisher import publisher_binary

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Release:
    """A folder with the Python sources and the optimised core, as it would be installed."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": ""}

    def python(self, *arguments: str | Path) -> list[str | Path]:
        """A command line that runs on this build when it gets `env`."""
        return [sys.executable, *arguments]


def build_release(folder: Path) -> Release:
    """Builds core and publisher (cargo does nothing when they are fresh) and lays the package out in `folder`/release."""
    publisher_binary(release=True)
    build = ["cargo", "build", "--quiet", "--locked", "--release", "-p", "isotape-py"]
    subprocess.run(build, cwd=ROOT, check=True)
    asked = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    metadata = json.loads(subprocess.run(asked, cwd=ROOT, check=True, capture_output=True).stdout)
    release = Release(folder / "release")
    leave_out = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "src" / "isotape", release.folder / "isotape", ignore=leave_out)
    core = Path(metadata["target_directory"]) / "release" / "lib_core.so"
    shutil.copy(core, release.folder / "isotape" / "_core.abi3.so")
    subprocess.run([sys.executable, "-m", "compileall", "-q", release.folder], check=True)
    return release
