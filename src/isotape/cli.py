"""The command line: `isotape serve | demo | recover | doctor | credentials`.

Imports stand inside the commands, so that `--help` is instant.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A room server whose purpose is the recording.",
)

Host = Annotated[str | None, typer.Option(help="Address of the HTTP listener (ISOTAPE_HOST).")]
Port = Annotated[int | None, typer.Option(help="Port of the HTTP listener, 0 for a free one (ISOTAPE_PORT).")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of journals, assets and database (ISOTAPE_DATA_DIR).")]


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Runs the server until SIGTERM or Ctrl-C; prints `isotape ready URL` on stdout when it accepts joins."""
    from isotape.app import serve as run

    _keep_private()
    asyncio.run(run(_settings(host=host, port=port, data_dir=data_dir)))


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="Exit when the assets are there; non-zero if one is missing.")] = False,
    seconds: Annotated[int, typer.Option(help="How long the two peers publish.", min=3, max=600)] = 10,
) -> None:
    """Lets two browsers join a recorded room on a fresh data folder and shows the files they leave behind."""
    from isotape.demo.run import run_demo

    _keep_private()
    raise typer.Exit(asyncio.run(run_demo(once=once, seconds=seconds)))


@app.command()
def recover(data_dir: DataDir = None) -> None:
    """Seals what a crash left open and writes the rows of recordings that a lost or older database does not know.

    Deletes nothing. The files that are missing are made by the next `serve`.
    """
    _keep_private()
    raise typer.Exit(asyncio.run(_recover(_settings(data_dir=data_dir))))


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Checks what the server needs on this machine, one line each; exits non-zero when something is missing."""
    from isotape.doctor import examine

    checks = examine(_settings(data_dir=data_dir))
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.finding}")
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


@app.command()
def credentials(data_dir: DataDir = None) -> None:
    """Shows the access key and the app secret, making them at the first call."""
    from isotape.auth.credentials import load_or_make

    settings = _settings(data_dir=data_dir)
    found = load_or_make(
        settings.data_dir / "credentials.json", settings.access_key, settings.app_secret.get_secret_value()
    )
    print(f"access key  {found.access_key}\napp secret  {found.app_secret}")


async def _recover(settings: Any) -> int:
    """One line a journal and one of all; 1 when a recording could not be taken in."""
    from collections import Counter

    from isotape import app, rescue

    outcomes: Counter[rescue.Outcome] = Counter()
    async for finding in app.recover(settings):
        outcomes[finding.outcome] += 1
        print(f"{finding.folder}: {finding.outcome}; {finding.note}")
    counts = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in rescue.Outcome if outcomes[outcome])
    print(f"{outcomes.total()} journals: {counts}" if counts else f"no journals in {settings.journal_root}")
    if outcomes[rescue.Outcome.FOREIGN]:
        print(f"put back the credentials.json of the other workspace in {settings.data_dir} and recover again")
    return 1 if outcomes[rescue.Outcome.FOREIGN] or outcomes[rescue.Outcome.UNREADABLE] else 0


def _keep_private() -> None:
    """What this process writes (recordings, rows, journals) is for its own user alone."""
    os.umask(0o077)


def _settings(**given: object) -> Any:
    from pydantic import ValidationError

    from isotape.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"setting ISOTAPE_{name}: {problem['msg']}", file=sys.stderr)
        raise typer.Exit(2) from error


def main() -> None:
    """Entry point of the `isotape` program. An error of ours ends it with one line that says what to do."""
    from isotape.errors import IsotapeError

    try:
        app()
    except IsotapeError as error:
        print(f"isotape: {error.message}", file=sys.stderr)
        sys.exit(1)
