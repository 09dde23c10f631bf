"""The make targets are the only commands a newcomer has to know: each is listed, and none repeats its work."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs make without the outer make's flags in its environment."""
    command = ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "-u", "MFLAGS", "make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"(?m)^\.PHONY:(.*)$", text) for name in line.split()}
    listed = set(re.findall(r"(?m)^  make (\S+) +\S", make("help").stdout))
    assert phony == listed


def test_every_target_that_the_documents_name_exists() -> None:
    listed = set(re.findall(r"(?m)^  make (\S+)", make("help").stdout))
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {name for path in documents for name in re.findall(r"`make ([a-z]+)", path.read_text())}
    assert named <= listed


# What the steps of setup read, one stand-in for each kind of source.
READ = """
scripts/install-debian scripts/build-web scripts/patch-crates scripts/third-party-licences
pyproject.toml requirements.lock package.json package-lock.json .npmrc Cargo.toml Cargo.lock README.md LICENSE NOTICE
src/isotape/app.py crates/py/src/lib.rs crates/patches/str0m/0001-a.patch web/join/main.ts
scripts/build-prebuilt web/prebuilt/package.json web/prebuilt/package-lock.json
web/prebuilt/main.tsx web/prebuilt/page.css web/prebuilt/build.mjs web/prebuilt/tsconfig.json
""".split()


@pytest.fixture
def finished_clone(tmp_path: Path) -> Path:
    """A clone in which `make setup` has just finished: every stamp is newer than every source."""
    text = (ROOT / "Makefile").read_text()
    (tmp_path / "Makefile").write_text(text)
    stamps = re.findall(r"(?m)^(\.build/[\w.]+):", text)
    for names, seconds in ((READ, 1000), (stamps, 2000)):
        for path in (tmp_path / name for name in names):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (seconds, seconds))
    return tmp_path


def test_a_second_setup_does_nothing(finished_clone: Path) -> None:
    assert make("--question", "setup", folder=finished_clone).returncode == 0


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ("src/isotape/app.py", "maturin build"),
        ("crates/py/src/lib.rs", "maturin build"),
        ("crates/patches/str0m/0001-a.patch", "scripts/patch-crates"),
        ("web/join/main.ts", "scripts/build-web"),
        ("requirements.lock", "--require-hashes"),
        ("package-lock.json", "npm ci"),
    ],
)
def test_a_changed_source_repeats_its_step(finished_clone: Path, changed: str, step: str) -> None:
    os.utime(finished_clone / changed, (3000, 3000))
    planned = make("--dry-run", "setup", folder=finished_clone).stdout
    assert step in planned
    assert "force-reinstall" in planned, "the wheel that setup installs carries the change"


def test_the_prebuilt_page_is_made_when_asked_for_and_never_by_setup(finished_clone: Path) -> None:
    for name in ("main.tsx", "package-lock.json"):
        os.utime(finished_clone / "web/prebuilt" / name, (3000, 3000))
    assert make("--question", "setup", folder=finished_clone).returncode == 0
    planned = make("--dry-run", "prebuilt", folder=finished_clone).stdout
    assert "--prefix web/prebuilt" in planned
    assert "scripts/build-prebuilt" in planned


def test_work_on_the_checkout_itself_never_waits_for_a_wheel(finished_clone: Path) -> None:
    (finished_clone / ".build/editable").touch()
    os.utime(finished_clone / "src/isotape/app.py", (3000, 3000))
    assert make("--question", "setup", folder=finished_clone).returncode == 0


@pytest.fixture
def clone_without_tools(tmp_path: Path) -> Path:
    """The set-up script beside a Cargo.toml, and a PATH on which only the shell's own tools stand."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/install-debian", tmp_path / "scripts/install-debian")
    shutil.copy(ROOT / "Cargo.toml", tmp_path / "Cargo.toml")
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "sed", "head", "sort", "cut", "dirname", "env", "id"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool}: not on PATH"))
    return tmp_path


def install_debian(clone: Path) -> subprocess.CompletedProcess[str]:
    """Runs the set-up's first step in the bare environment."""
    environment = {"PATH": str(clone / "bin"), "HOME": str(clone), "PYTHON": "python3"}
    command = ["bash", "scripts/install-debian"]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def put(clone: Path, tool: str, answer: str = "") -> None:
    """A stand-in for a tool that is installed: it answers one line and succeeds."""
    path = clone / "bin" / tool
    path.unlink(missing_ok=True)
    path.write_text(f"#!/usr/bin/env bash\necho '{answer}'\n")
    path.chmod(0o755)


def test_a_missing_python_is_named(clone_without_tools: Path) -> None:
    result = install_debian(clone_without_tools)
    assert result.returncode == 1
    assert "python3 is missing or older than 3.11" in result.stderr


def test_an_old_cargo_is_named_with_the_version_that_is_needed(clone_without_tools: Path) -> None:
    put(clone_without_tools, "python3")
    put(clone_without_tools, "cargo", "cargo 1.63.0 (fd9c4297c 2022-07-01)")
    result = install_debian(clone_without_tools)
    assert result.returncode == 1
    assert re.search(r"cargo 1\.\d+ or newer is missing \(found: 1\.63\.0\)", result.stderr)


def test_someone_who_is_not_root_is_told_which_packages_to_install(clone_without_tools: Path) -> None:
    put(clone_without_tools, "python3")
    put(clone_without_tools, "cargo", "cargo 9.0.0")
    put(clone_without_tools, "id", "1000")
    for tool in ("cc", "node", "npm", "ffmpeg"):
        put(clone_without_tools, tool)
    result = install_debian(clone_without_tools)
    assert result.returncode == 1
    assert "apt-get install patch" in result.stderr


def test_a_missing_browser_is_named_but_ends_nothing(clone_without_tools: Path) -> None:
    put(clone_without_tools, "python3")
    put(clone_without_tools, "cargo", "cargo 9.0.0")
    put(clone_without_tools, "id", "1000")
    for tool in ("patch", "cc", "node", "npm", "ffmpeg"):
        put(clone_without_tools, tool)
    result = install_debian(clone_without_tools)
    assert result.returncode == 0
    assert "going on without chromium" in result.stderr
