"""The README and the pages are true: commands, keys, records, packages, links, dependencies."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from cifarnet import config
from cifarnet.cli import main
from cifarnet.runs import (
    audits,
    benchmarks,
    comparisons,
    documents,
    explanations,
    records,
    results,
    robustness,
    sweeps,
)

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
README = (ROOT / "README.md").read_text()
CONFIGURATION = PAGES["configuration.md"]
TEXTS = {"README.md": README, **{f"docs/{name}": text for name, text in PAGES.items()}}


def test_reference_pages_are_current():
    """Else run `python scripts/generate_reference.py`."""
    made = runpy.run_path(str(ROOT / "scripts" / "generate_reference.py"))["pages"]()
    assert len(made) == 2
    for path, text in made.items():
        assert path.read_text() == text, path


# --- commands -------------------------------------------------------------------------


def leaves(group: click.Group, prefix: str = "cifarnet") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def test_every_command_and_option_appears():
    for name, command in leaves(main):
        section = PAGES["command-line.md"].split(f"\n## {name}\n")[1].split("\n## ")[0]
        for option in command.params:
            if isinstance(option, click.Option) and option.expose_value:
                assert all(f"`{text}`" in section for text in option.opts), name


def test_readme_lists_every_command():
    for name, command in main.commands.items():
        line = next(x for x in README.splitlines() if x.startswith(f"cifarnet {name} "))
        for inner in getattr(command, "commands", {}):
            assert inner in line


def shown_commands() -> Iterator[tuple[str, str]]:
    """The commands in shell blocks, by page."""
    for page, text in TEXTS.items():
        for kind, block in re.findall(r"^```(sh|console)\n(.*?)^```", text, re.M | re.S):
            for line in block.splitlines():
                shown = kind == "sh" or line.startswith("$ ")
                for part in line.removeprefix("$ ").split("&&") if shown else ():
                    if part.strip().startswith("cifarnet "):
                        yield page, part.strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(shown_commands())))
def test_every_shown_command_is_accepted(page, line):
    words = shlex.split(line.split(" > ")[0])[1:]
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words).close()


# --- the config -----------------------------------------------------------------------


def documented() -> dict[str, str]:
    """The default in configuration.md of each key."""
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \| [^|]* \| ([^|]*) \| [^|]+ \|$", CONFIGURATION, re.M)
    return {key: default.strip().strip("`") for key, default in rows}


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kinds = getattr(field.annotation, "__args__", (field.annotation,))
        sections = [x for x in kinds if isinstance(x, type) and issubclass(x, BaseModel)]
        yield prefix + name
        if len(sections) == 1:
            yield from keys(sections[0], f"{prefix}{name}.")


def test_every_key_appears_and_no_other():
    assert set(documented()) == {"base", *keys(config.Config)}


@pytest.mark.parametrize(
    "kind", config.DataConfig.model_fields["augment"].annotation.__args__[0].__origin__.__args__
)
def test_every_augmentation_appears_with_its_keys(kind):
    name = kind.model_fields["kind"].annotation.__args__[0]
    line = next(x for x in CONFIGURATION.splitlines() if x.startswith(f"| `{name}` |"))
    for key in set(kind.model_fields) - {"kind"}:
        assert f"`{key}`" in line


def test_defaults_are_as_documented():
    minimal = {"model": {"layers": ["Flatten"]}, "train": {"epochs": 1, "learning_rate": 1}}
    values = config.parse(minimal).model_dump(mode="json")
    compared = 0
    for name, stated in documented().items():
        section, _, key = name.partition(".")
        if "." in key or not key or stated in ("required", ""):
            continue
        actual = values[section][key]
        if isinstance(actual, bool):
            assert stated == str(actual).lower(), name
        elif isinstance(actual, str):
            assert stated == actual, name
        elif isinstance(actual, int | float):
            assert float(stated) == actual, name
        compared += 1
    assert compared > 20


# --- records --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "record"),
    [
        ("cost", documents.CostRecord),
        ("run.json", records.RunRecord),
        ("evaluation/split.json", results.Evaluation),
        ("evaluation/robustness.json", robustness.Robustness),
        ("audit.json", audits.Audit),
        ("exports/name/export.json", results.Export),
        ("benchmark.json", benchmarks.Benchmark),
        ("compare.json", comparisons.Comparison),
        ("mlflow.json", records.TrackerRecord),
        ("sweep.json", sweeps.SweepRecord),
        ("results.json", sweeps.SweepResults),
        ("evaluation/explanations/method/explain.json", explanations.Explanation),
    ],
)
def test_every_key_of_a_record_appears_and_no_other(heading, record):
    section = PAGES["run-directory.md"].split(f"\n### {heading}\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    found = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    common = documents.Record.model_fields.keys()
    assert found == set(record.model_fields) - common
    for field in (record.model_fields[name] for name in found):
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, documents.Part):
                for name, inner in part.model_fields.items():
                    assert f"`{inner.alias or name}`" in section, f"{part.__name__}.{name}"


# --- packages, files, dependencies ----------------------------------------------------


def test_every_package_appears():
    source = ROOT / "src" / "cifarnet"
    names = {path.stem for path in source.iterdir() if path.suffix in ("", ".py")}
    names = {name for name in names if not name.startswith("__")}
    tree = README.split("src/cifarnet/\n")[1].split("configs/")[0]
    assert set(re.findall(r"^  (\w+)", tree, re.M)) == names
    levels = re.findall(r"^\| \d+ \| `(\w+)` \|", PAGES["architecture.md"], re.M)
    assert set(levels) == names


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_every_page_config_and_script_appears():
    every = "".join(TEXTS.values())
    for path in [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "scripts").glob("*.py")]:
        assert path.name in every
    for name in PAGES:
        assert f"(docs/{name})" in README


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", outside, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_pictures_exist(page):
    found = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", TEXTS[page])
    for target in (a or b for a, b in found):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target


@pytest.mark.parametrize("page", [*TEXTS, "SECURITY.md"])
def test_named_files_exist(page):
    text = (ROOT / page).read_text()
    for name in re.findall(r"`((?:src|tests|scripts|configs|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_the_levels_are_those_that_are_checked():
    contract = (ROOT / "pyproject.toml").read_text().split("\nlayers = [\n")[1].split("\n]")[0]
    lines = [re.findall(r"\w+", line) for line in contract.splitlines()]
    checked = {name: level for level, names in enumerate(reversed(lines)) for name in names}
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGES["architecture.md"], re.M)
    assert {name: int(level) for level, name in rows} == checked


def test_every_dependency_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    blocks = [text.split("\ndependencies = [")[1].split("\n]")[0]]
    blocks.append(text.split("\n[project.optional-dependencies]\n")[1].split("\nall = ")[0])
    table = PAGES["architecture.md"].split("## Dependencies")[1]
    names = [name for block in blocks for name in re.findall(r'"([A-Za-z0-9_-]+)[><=]', block)]
    assert len(names) > 20
    for name in [*names, "types-PyYAML"]:
        assert re.search(rf"[ ,]{re.escape(name)}[ ,]", table), name


def test_the_second_command_is_where_continuous_integration_reads_it():
    block = README.split("<!-- tests -->\n")[1]
    assert re.match(r"```sh\npip install [^\n]* && pytest\n```", block)
