"""Files that cannot be read or are not YAML of plain values are refused in one line."""

import os
from pathlib import Path

import pytest
import yaml
from helpers.configs import MINIMAL, refused, write

from cifarnet import config
from cifarnet.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "expected sections such as `data:`, `model:`, `train:`, received nothing"),
        ("# nothing\n", "received nothing"),
        ("- 1\n", "expected sections such as `data:`, `model:`, `train:`, received the list [1]"),
        ("text\n", "received the text 'text'"),
        ("a: [1\n", "is not valid YAML: line 2, column 1: expected ',' or ']'"),
        ("a:\n\tb: 1\n", "is not valid YAML: line 2, column 1: found character '\\t'"),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: expected a single document in the stream"),
        ("a: *b\n", "line 1, column 4: found undefined alias 'b'"),
        ("a: \x00\n", "is not valid YAML: unacceptable character"),
        ("train: {epochs: 1, epochs: 2}\n", "line 1, column 20: the key 'epochs' appears twice"),
        ("a: 1\n'a': 2\n", "line 2, column 1: the key 'a' appears twice"),
        ('a: {b: 1, "\\x62": 2}\n', "line 1, column 11: the key 'b' appears twice"),
        ("a: 1\n? >-\n  a\n: 2\n", "line 2, column 3: the key 'a' appears twice"),
        ("a: 1\n!!str a: 2\n", "line 2, column 1: the key 'a' appears twice"),
        ("1: 2\n", "line 1, column 1: expected a name as key, received '1'"),
        ("true: 2\n", "expected a name as key, received 'true'"),
        ("~: 2\n", "expected a name as key, received '~'"),
        ("? [1]\n: 2\n", "line 1, column 3: expected a name as key, received a sequence"),
        ("{a: {b: c}: d}\n", "line 1, column"),
        ("a: !!python/object/apply:os.system ['true']\n", "tag !!python/object/apply:os.system is"),
        ("a: !!python/name:os.system\n", "the tag !!python/name:os.system is not allowed. Write"),
        ("a: !mine 3\n", "the tag !mine is not allowed"),
        ("a: !!set {b}\n", "the tag !!set is not allowed"),
        ("a: !!binary aGk=\n", "the tag !!binary is not allowed"),
        ("a: !!timestamp 2024-01-01\n", "the tag !!timestamp is not allowed"),
        ("a: !!int x\n", "is not valid YAML: invalid literal"),
        ("a: !!bool x\n", "is not valid YAML"),
        ("a: !!float ''\n", "is not valid YAML: could not convert"),
        ("seed: " + "9" * 5000 + "\n", "expected a number, received 5,000 characters of one"),
        ("seed: 0x" + "f" * 5000 + "\n", "expected a number, received 5,002 characters of one"),
        (b"name: caf\xe9\n", "expected UTF-8 text, received the byte 0xe9 at position 9. Save"),
        ("seed: 1\n".encode("utf-16"), "expected UTF-8 text, received the byte 0xff at position 0"),
        ("x: " + "y" * 200_000, "is larger than 200 kB, so it is not a config"),
        ("a: " + "[" * 5000, "nested more than 40 levels deep"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 40 levels deep"),
        ("a: &a [*a]\n", "nested more than 40 levels deep"),
        ("a: &a {b: *a}\n", "nested more than 40 levels deep"),
        ("a: [" + "1," * 20_001 + "]\n", "more than 20,000 values, aliases followed"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_files_that_are_no_config(content, says, tmp_path):
    file = write(tmp_path, content)
    message = refused(file)
    assert message.startswith(str(file))
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "grow",
    [
        lambda name, before: f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n",
        lambda name, before: f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 8)}]}}\n",
        lambda name, before: f"? &{name} [{', '.join([f'*{before}'] * 8)}]\n: 1\n",
    ],
    ids=["values", "merges", "keys"],
)
def test_alias_bombs_are_refused_without_being_expanded(grow, tmp_path):
    """Expanded, the documents hold 8**20 values, so that the test would not finish."""
    names = "abcdefghijklmnopqrstu"
    text = "a: &a {x: 1}\n" + "".join(map(grow, names[1:], names))
    message = refused(write(tmp_path, text))
    assert "more than 20,000 values, aliases followed" in message or "a name as key" in message


def test_a_number_that_no_longer_prints_is_refused():
    with pytest.raises(ConfigError, match=r"seed: expected a number less than .* a very large num"):
        config.parse({**yaml.safe_load(MINIMAL), "seed": 10**5000})


def test_a_document_without_end_is_refused():
    deep: dict = {}
    for _ in range(100_000):
        deep = {"units": deep}
    endless: dict = {}
    endless["units"] = endless
    for kwargs in (deep, endless):
        document = {**yaml.safe_load(MINIMAL), "model": {"layers": [{"Dense": kwargs}]}}
        with pytest.raises(ConfigError, match="nested too deeply"):
            config.parse(document, "here")
        with pytest.raises(ConfigError, match="seed: expected a whole number"):
            config.parse({**yaml.safe_load(MINIMAL), "seed": kwargs})
    while deep:  # from the outside in, because Python's deallocation recurses
        deep = deep["units"]


def test_a_config_that_comes_through_a_pipe(tmp_path):
    """As in `cifarnet train --config <(...)`, where the size is unknown in advance."""
    reading, writing = os.pipe()
    os.write(writing, MINIMAL.encode())
    os.close(writing)
    assert config.load(f"/dev/fd/{reading}").train.epochs == 3
    os.close(reading)
    assert "is larger than 200 kB" in refused(Path("/dev/zero"))


def test_files_that_cannot_be_read(tmp_path):
    write(tmp_path, MINIMAL, "article.yaml")
    write(tmp_path, MINIMAL, "other.yaml")
    message = refused(tmp_path / "artcle.yaml")
    assert message == (
        f"there is no config file {tmp_path}/artcle.yaml. In {tmp_path} there is: article.yaml"
    )
    assert "there is: article.yaml, other.yaml" in refused(tmp_path / "q")
    message = refused(tmp_path / "no" / "q.yaml")
    assert "Give a YAML file or the name of a shipped config. Shipped configs: accura" in message
    assert refused(tmp_path) == (
        f"{tmp_path} is a folder; expected a YAML file, such as {tmp_path}/config.yaml"
    )
    assert "is a folder" in refused(write(tmp_path, "base: .\n"))
    assert "cannot read the config" in refused(tmp_path / "other.yaml" / "c.yaml")
    assert "cannot read the config" in refused(Path("a\0b"))
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert "cannot read the config" in refused(tmp_path / "loop.yaml")
