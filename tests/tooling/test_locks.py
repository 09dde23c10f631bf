"""The lock files say exactly what the project files ask for, so two clones of one commit install the same bytes."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED = [
    *PROJECT["project"]["dependencies"],
    *(line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra),
    *PROJECT["dependency-groups"]["dev"],
]
# The pages' own packages, and those that only `make prebuilt` installs.
NODE = pytest.mark.parametrize("folder", [ROOT, ROOT / "web/prebuilt"], ids=["pages", "prebuilt"])
PERMISSIVE = {"MIT", "0BSD", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}


def locked_python() -> dict[str, str]:
    """Name to exact version, as requirements.lock pins them."""
    text = (ROOT / "requirements.lock").read_text()
    return {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", text)}


@pytest.mark.parametrize("line", ASKED)
def test_every_declared_python_package_is_locked_within_its_range(line: str) -> None:
    asked = Requirement(line)
    version = locked_python().get(canonicalize_name(asked.name))
    assert version is not None, "run make lock"
    assert asked.specifier.contains(Version(version)), f"locked at {version}: run make lock"


def test_every_locked_python_package_has_a_hash() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"(?m)^(?=[\w.-]+==)", text)[1:]
    assert len(blocks) == len(locked_python())
    assert not [block.split("\n")[0] for block in blocks if "--hash=sha256:" not in block]


def test_the_python_lock_names_no_place_to_fetch_from() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.findall(r"(?m)^\s*(?:-i\b|-f\b|--index-url|--extra-index-url|--find-links|--trusted-host).*", text)


@NODE
def test_the_node_lock_is_of_this_package_json(folder: Path) -> None:
    asked = json.loads((folder / "package.json").read_text())
    root = json.loads((folder / "package-lock.json").read_text())["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert root.get(kind) == asked.get(kind), "run make lock"


@NODE
def test_the_node_lock_has_hashes_and_no_urls(folder: Path) -> None:
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    fetched = {name: entry for name, entry in packages.items() if name}
    assert not [name for name, entry in fetched.items() if "resolved" in entry]
    assert not [name for name, entry in fetched.items() if not entry.get("integrity", "").startswith("sha512-")]


def test_no_script_that_the_pages_carry_is_under_a_licence_that_would_bind_their_users() -> None:
    """The SDK's own range for ua-parser-js leads to AGPL-3.0; package.json overrides it. `make audit` does this for crates."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    shipped = {name: entry.get("license") for name, entry in packages.items() if name and not entry.get("dev")}
    assert not {name: licence for name, licence in shipped.items() if licence not in PERMISSIVE}


def test_the_prebuilt_page_carries_no_agpl_either() -> None:
    """Some of its 400 packages name no licence or an unusual one, and none is in the wheel; this one its users would have to know of."""
    packages = json.loads((ROOT / "web/prebuilt/package-lock.json").read_text())["packages"]
    assert not [name for name, entry in packages.items() if "GPL" in str(entry.get("license"))]


def test_the_cargo_lock_names_every_workspace_crate_at_its_version() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    version = workspace["workspace"]["package"]["version"]
    locked = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    for member in workspace["workspace"]["members"]:
        name = tomllib.loads((ROOT / member / "Cargo.toml").read_text())["package"]["name"]
        assert locked.get(name) == version, member


def test_python_and_rust_carry_one_version() -> None:
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert PROJECT["project"]["version"] == rust


def test_str0m_is_pinned_exactly_because_the_patches_are_against_one_source() -> None:
    pin = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["dependencies"]["str0m"]["version"]
    assert re.fullmatch(r"=\d+\.\d+\.\d+", pin)
