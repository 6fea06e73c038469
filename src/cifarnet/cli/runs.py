"""`cifarnet runs`: what was trained, and how it came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cifarnet.cli.render import Group, console, duration, facts, percent, proofs

_run = click.argument("run", metavar="RUN")


@click.group(cls=Group)
def runs() -> None:
    """List, show, verify and remove runs.

    \b
    Example:
      cifarnet runs list
    """


@runs.command("list")
def list_() -> Any:
    """A table of all runs under runs/, oldest first.

    \b
    Example:
      cifarnet runs list
    """
    from rich.table import Table

    from cifarnet import runs

    summaries = [runs.summary(run) for run in runs.all_runs()]
    screen = console()
    if not summaries:
        screen.print("no runs yet. Next: cifarnet train --config configs/article.yaml")
        return summaries
    table = Table("run", "status", "config")
    for heading in ("epochs", "validation", "test", "time"):
        table.add_column(heading, justify="right")
    for one in summaries:
        table.add_row(
            one["name"],
            one["status"],
            Path(one["config"] or "-").name,
            "-" if one["epochs"] is None else f"{one['epochs']:g}",
            percent(one["validation_accuracy"]),
            percent(one["test_accuracy"]),
            "-" if one["seconds"] is None else duration(one["seconds"]),
        )
    screen.print(table)
    return summaries


@runs.command()
@_run
def show(run: str) -> Any:
    """All that is known of one run (path, name or `latest`).

    \b
    Example:
      cifarnet runs show latest
    """
    from cifarnet import runs

    found = runs.find(run)
    manifest = found.read_manifest()
    one = runs.summary(found)
    machine, versions = manifest.get("machine", {}), manifest.get("versions", {})
    model = manifest.get("model", {})
    why = f" ({manifest['why']})" if manifest.get("why") else ""
    rows = [
        ("run", str(found.path)),
        ("status", f"{one['status']}{why}"),
        ("command", str(manifest.get("command"))),
        ("config", str(found.config)),
        ("seed", str(manifest.get("seed"))),
        ("data", str(manifest.get("data", {}).get("source"))),
        ("network", f"{model.get('parameters', 0):,} parameters, {model.get('macs', 0):,} MACs"),
        ("precision", str(manifest.get("precision", {}).get("chosen"))),
        ("epochs", f"{manifest.get('epochs_done') or 0:g} of {manifest.get('epochs', 0):g}"),
        ("time", duration(manifest.get("seconds") or 0.0)),
        ("validation", percent(one["validation_accuracy"])),
        ("test", percent(one["test_accuracy"])),
        ("machine", f"{machine.get('processor')}, {machine.get('cores')} cores"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("commit", str(manifest.get("git_commit"))),
        ("files", " ".join(_files(found.path))),
    ]
    screen = console()
    screen.print(facts(rows), markup=False)
    exports = runs.exports(found)
    if exports:
        screen.print("")
        screen.print(proofs(exports))
    return {"run": str(found.path), **manifest, "summary": one, "exports": exports}


@runs.command()
@_run
def verify(run: str) -> Any:
    """Recompute the checksums of a run's files; nothing is trained or changed.

    Exit code 1 if a file is missing, damaged or replaced.

    \b
    Example:
      cifarnet runs verify latest
    """
    from cifarnet import runs
    from cifarnet.errors import RunError

    found = runs.find(run)
    verdicts = runs.verify(found)
    determinism = found.read_manifest().get("determinism", {})
    screen = console()
    for one in verdicts:
        word = {True: "right", False: "WRONG", None: "unknown"}[one.right]
        screen.print(f"{word:<8} {one.name}: {one.found}", markup=False)
    if determinism:
        can = "can" if determinism.get("bit_deterministic") else "cannot be promised to"
        needs = determinism.get("needs")
        screen.print(
            f"\nTraining it again {can} give the same bits; it takes {needs}", markup=False
        )
    wrong = [one.name for one in verdicts if one.right is False]
    if wrong:
        raise RunError(
            f"{found.path} is not what its manifest says: {', '.join(wrong)}. Restore the files, "
            "or write them again with the command that wrote them."
        )
    known = sum(one.right is True for one in verdicts)
    screen.print(f"all {known} files with a checksum are what the manifest says", markup=False)
    return {
        "run": str(found.path),
        "files": [one._asdict() for one in verdicts],
        "determinism": determinism,
    }


@runs.command()
@_run
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(run: str, yes: bool) -> Any:
    """Delete a run's directory and all in it.

    \b
    Example:
      cifarnet runs remove 20260101-120000-article
    """
    from cifarnet import runs

    found = runs.find(run)
    if not yes:
        click.confirm(f"Delete {found.path} for good?", abort=True, err=True)
    runs.remove(found)
    console().print(f"removed {found.path}", markup=False)
    return {"removed": str(found.path)}


def _files(path: Any) -> list[str]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return sorted(str(file.relative_to(path)) for file in files)
