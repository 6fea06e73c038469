"""The README is held true: commands, keys, modules, configs, files."""

import re
from pathlib import Path

import pytest

from cifarnet import config
from cifarnet.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_command_appears():
    for name, command in main.commands.items():
        assert f"cifarnet {name} " in README
        for inner in getattr(command, "commands", {}):
            line = next(x for x in README.splitlines() if x.startswith(f"cifarnet {name} "))
            assert inner in line


def documented_keys() -> set[str]:
    return set(re.findall(r"^\| `([a-z_.0-9]+)` \|", README, re.MULTILINE))


def test_every_key_appears_and_no_other():
    keys = {"base"}
    for name, field in config.Config.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        keys |= {f"{name}.{key}" for key in inner} if inner else {name}
    documented = {key for key in documented_keys() if "." in key or key in keys}
    assert documented == keys


@pytest.mark.parametrize(
    "kind", config.DataConfig.model_fields["augment"].annotation.__args__[0].__origin__.__args__
)
def test_every_augmentation_appears_with_its_keys(kind):
    name = kind.model_fields["kind"].annotation.__args__[0]
    line = next(x for x in README.splitlines() if x.startswith(f"| `{name}` |"))
    for key in set(kind.model_fields) - {"kind"}:
        assert f"`{key}`" in line


def test_defaults_are_as_documented():
    minimal = {"model": {"layers": ["Flatten"]}, "train": {"epochs": 1, "learning_rate": 1}}
    values = config.parse(minimal).model_dump(mode="json")
    for line in README.splitlines():
        match = re.match(r"\| `(\w+)\.(\w+)` \| ([^|]*) \|", line)
        if match and match[1] in values and match[3].strip() not in ("required", ""):
            section, key, stated = match[1], match[2], match[3].strip().strip("`")
            actual = values[section][key]
            if isinstance(actual, str):
                assert stated == actual, line
            elif isinstance(actual, bool):
                assert stated == str(actual).lower(), line
            elif isinstance(actual, int | float):
                assert float(stated) == actual, line


def test_every_module_appears():
    source = ROOT / "src" / "cifarnet"
    names = {path.stem for path in source.iterdir() if not path.stem.startswith("__")}
    assert names == set(re.findall(r"^\| \d \| `(\w+)` \|", README, re.MULTILINE))


def test_every_config_and_script_appears():
    for path in [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "scripts").glob("*.py")]:
        assert path.name in README


def test_links_and_pictures_exist():
    found = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    for target in (a or b for a, b in found):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_every_dependency_earns_its_place():
    text = (ROOT / "pyproject.toml").read_text()
    block = text.split("\ndependencies = [")[1].split("]")[0]
    for name in re.findall(r'"([a-z-]+)', block):
        assert name in README.split("## Dependencies")[1]
