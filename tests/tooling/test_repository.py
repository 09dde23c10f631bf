"""What holds for the repository as a whole: a clean clone anywhere can build it, from whatever mirror it uses.

These tests read the tracked files and run no part of isotape.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Spelt in pieces, so that this file does not find itself.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "registry.npm" + "js.org",
    "registry.yarn" + "pkg.com",
    "static.crates" + ".io",
    "index.crates" + ".io",
    "deb.debian" + ".org",
    "proxy.golang" + ".org",
    "repo.maven" + ".apache.org",
]
# A home, a checkout's parent or a numbered temporary folder: places that only one machine has.
MACHINE_PATH = re.compile(r"(?<![\w.$})-])/(?:work|root|home/\w+|Users/\w+|opt/wheels|tmp/(?:brief|bash_jobs))/(?!\s)")


@cache
def tracked() -> list[Path]:
    """The text files that git would hand to someone who clones; without git there is no telling which those are."""
    if not (ROOT / ".git").exists():
        pytest.skip("the .git folder is missing")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def lines(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """Every line with its place, as `path:number`."""
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def test_no_tracked_file_names_a_registry_host() -> None:
    found = [where for where, line in lines(tracked()) if any(host in line for host in REGISTRY_HOSTS)]
    assert not found


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    found = [f"{where}: {line.strip()[:80]}" for where, line in lines(tracked()) if MACHINE_PATH.search(line)]
    assert not found


@pytest.mark.parametrize(
    "folder",
    [
        "target",
        ".venv",
        "node_modules",
        "web/prebuilt/node_modules",
        "crates/patched",
        "src/isotape/web/static/built",
        "src/isotape/web/static/prebuilt",
    ],
)
def test_nothing_that_the_build_makes_is_tracked(folder: str) -> None:
    assert not [path for path in tracked() if path.is_relative_to(ROOT / folder)]


def test_scripts_can_be_run() -> None:
    scripts = [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"]
    assert not [path.name for path in scripts if path.is_file() and not path.stat().st_mode & 0o100]


def skip_reasons(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The reason of every pytest skip: skip("…"), skipif(…, reason="…"), importorskip has none."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in ("skip", "skipif", "importorskip"):
            given = next((k.value for k in node.keywords if k.arg == "reason"), None)
            if given is None and node.func.attr == "skip" and node.args:
                given = node.args[0]
            yield node.lineno, ast.unparse(given) if given is not None else ""


def test_every_skip_names_what_is_missing() -> None:
    vague = []
    for path in (p for p in tracked() if p.suffix == ".py" and p.is_relative_to(ROOT / "tests")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        vague += [f"{path.name}:{line}: {why}" for line, why in skip_reasons(tree) if " missing" not in why]
    assert not vague


def test_every_ignored_rust_test_names_what_is_missing() -> None:
    rust = [path for path in tracked() if path.suffix == ".rs"]
    ignored = re.compile(r"#\[ignore(?! = \"[^\"]* missing)")
    assert not [where for where, line in lines(rust) if ignored.search(line)]


def test_only_the_engine_the_journal_and_the_assets_call_the_rust_module() -> None:
    """The import linter cannot see a compiled module, so its rule stands here."""
    allowed = tuple(f"src/isotape/{name}" for name in ("engine/", "journal.py", "assets/", "doctor.py"))
    source = [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "src")]
    calls = [where for where, line in lines(source) if re.search(r"^\s*(from|import) .*\b_core\b", line)]
    assert not [where for where in calls if not where.startswith(allowed)]
