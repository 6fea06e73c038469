"""The page of a run: one HTML file, from stored records alone, that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.callbacks import Callback
from cifarnet.errors import CifarnetError, JsonObject
from cifarnet.formatting import printable
from cifarnet.reporting import gallery, inline, sections, stored, templating
from cifarnet.reporting.stored import StoredRun
from cifarnet.runs import Run

# Arrays or images that are missing or do not belong to their record; the page does without.
_UNREADABLE = (CifarnetError, OSError, KeyError, IndexError, ValueError)


def report(run: Run | str | Path) -> Path:
    """Write a run's page, one HTML file that opens without a network, and return its path.

    Training, evaluating, explaining, exporting and benchmarking write it, too.

    Args:
        run: a run, its path or name, or `latest`.

    Raises:
        RunError: there is no such run, its record is damaged, or the page cannot be written.

    Example:
        print(cifarnet.report("latest"))
    """
    found = runs.open_run(run)
    write(found)
    return found.report_file


def write(run: Run) -> None:
    """Write a run's page, `report.html`.

    Raises:
        RunError: `run.json` cannot be read, or the page cannot be written.
    """
    runs.write_text(run.report_file, html(stored.read(run)))


def html(found: StoredRun, published: bool = False) -> str:
    """Return the page of a run; if it is to be published, without what names the machine's files.

    These are commands, paths of images, and notes on damaged records.
    """
    return render("run.html", {**_context(found, published), "published": published})


@contextmanager
def refreshed(changed: Sequence[Run], callback: Callback) -> Iterator[None]:
    """Write the pages of runs after their records have changed; if that fails, only warn."""
    try:
        yield
    except BaseException:  # some of them may have changed, as by an interrupted training
        for run in changed:
            refresh(run, Callback())
        raise
    for run in changed:
        refresh(run, callback)


def refresh(run: Run, callback: Callback) -> None:
    """Write the page of a run; if that fails, only warn: it does not decide about a result.

    A page of older results does not stay.
    """
    try:
        write(run)
    except Exception as error:
        with suppress(OSError):
            run.report_file.unlink()
        callback.on_warning(f"{run.report_file} was not written: {error}")


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill in an HTML template, with the style and the script inside.

    All texts are escaped. The page's Content-Security-Policy allows its own style and script by
    their SHA-256, images that are inside, and nothing else.
    """
    import markupsafe

    style, script = (inline.text(inline.TEMPLATES, f"page.{one}") for one in ("css", "js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {inline.source(style)}; "
        f"script-src {inline.source(script)}; base-uri 'none'; form-action 'none'"
    )
    safe = {"style": style, "script": script, "policy": policy}
    inside = {name: markupsafe.Markup(text) for name, text in safe.items()}
    environment = templating.environment("cifarnet.reporting")
    return environment.get_template(template).render({**values, **inside})


def _context(found: StoredRun, published: bool) -> JsonObject:
    from markupsafe import Markup

    evaluation, robustness = found.evaluation, found.robustness
    shown = _script_data(found, published)
    base, changes = sections.changes(found, published)
    return {
        "found": found,
        "name": found.run.path.name,
        "record": found.record,
        "status": runs.status(found.run),
        "faults": sections.CIFAR10_FAULTS if sections.is_cifar10(found) else (),
        "verdict": sections.verdict(found),
        "curves": sections.curves(found),
        "methods": [] if found.config is None else cfg.methods(found.config),
        "means": {} if found.config is None else sections.curve_meanings(found.config),
        "evaluation": evaluation,
        "classes": [] if evaluation is None else sections.classes(evaluation),
        "rest_of_classes": "" if evaluation is None else sections.rest_of_classes(evaluation),
        "matrix": [] if evaluation is None else sections.matrix(evaluation),
        "confusions": [] if evaluation is None else sections.confusions(evaluation),
        "reliability": None if evaluation is None else sections.reliability(evaluation),
        "risk_coverage": None if evaluation is None else sections.risk_coverage(evaluation),
        "corruptions": [] if robustness is None else sections.corruptions(robustness),
        "attacks": None if robustness is None else sections.attacks(robustness),
        "base": base,
        "changes": changes,
        "costs": _costs(found),
        "has_images": shown["gallery"] is not None,
        "data": Markup(inline.for_script(shown)),
    }


def _costs(found: StoredRun) -> list[tuple[str, runs.CostRecord | None]]:
    records = [
        ("training", found.record),
        *((f"evaluation of the {one.path.stem} images", one) for one in found.evaluations),
        ("robustness", found.robustness),
        *((f"explanations by {one.method_name}", one) for one in found.explanations),
        *((f"export of {one.name}", one) for one in found.exports),
        ("benchmark", found.benchmark),
        ("audit", found.audit),
    ]
    return [(name, one.cost) for name, one in records if one is not None]


def _script_data(found: StoredRun, published: bool) -> JsonObject:
    """Return what the page's script shows images from; None for images that are not there."""
    shown: JsonObject = {"gallery": None, "explained": []}
    if found.evaluation is not None:
        shown["classes"] = [printable(name) for name in found.evaluation.classes]
        shown["counts"] = sections.counts(found.evaluation)
        shown["split"] = found.evaluation.about.split
        with suppress(*_UNREADABLE):
            shown["gallery"] = gallery.images(found.evaluation)
    for i, one in enumerate(found.explanations):
        shown["explained"].append(None)
        with suppress(*_UNREADABLE):
            shown["explained"][i] = gallery.explained(one, published)
    return shown
