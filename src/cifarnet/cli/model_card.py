"""`cifarnet export --card`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cifarnet.cli.render import console

if TYPE_CHECKING:
    from cifarnet.errors import JsonObject
    from cifarnet.runs import Run


def check_usage(card: bool, license: str | None) -> None:
    """Check the options before a long export.

    Raises:
        UsageError: a license without a card.
        ConfigError: a license that is no identifier.
    """
    from cifarnet.reporting import model_card

    if license is not None and not card:
        raise click.UsageError("--license is what a model card states: expected it with --card")
    model_card.check_license(license)


def write(source: Run, license: str | None) -> JsonObject:
    """Write a run's model card, and show where it is and how to upload it."""
    from cifarnet import exporters

    card = exporters.write_model_card(source, license)
    stated = license or "none stated; --license ID states one, such as apache-2.0"
    screen = console()
    screen.print(f"in {card.folder}: {', '.join(path.name for path in card.files)}", markup=False)
    screen.print(f"license: {stated}", markup=False)
    for note in card.notes:
        screen.print(f"not in the card: {note}", markup=False)
    screen.print(f"\nNext: {card.upload}\n", markup=False)
    return card.to_json()
