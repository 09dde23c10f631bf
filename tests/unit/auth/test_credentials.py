"""The credentials file: made once, private, never silently replaced."""

import stat
from pathlib import Path

import pytest

from isotape.auth.credentials import load_or_make
from isotape.errors import IsotapeError


def test_the_second_start_reads_what_the_first_one_made(tmp_path: Path) -> None:
    file = tmp_path / "data" / "credentials.json"
    assert load_or_make(file) == load_or_make(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_given_secret_wins_and_is_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    given = load_or_make(file, access_key="key", app_secret="given-secret")
    assert (given.access_key, given.app_secret) == ("key", "given-secret")
    assert "given-secret" not in file.read_text()


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    file.write_text("{")
    with pytest.raises(IsotapeError, match=r"credentials\.json"):
        load_or_make(file)
