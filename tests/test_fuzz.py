"""Bytes from outside are accepted or refused by a stated error. `scripts/fuzz.py` tries longer."""

from pathlib import Path

import pytest
from helpers import fuzzing
from hypothesis import HealthCheck, Phase, given, settings


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_any_bytes_are_accepted_or_refused(name, tmp_path):
    target = fuzzing.TARGETS[name]
    seen = set()

    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases())
    def check(content: bytes) -> None:
        seen.add(target.check(content, tmp_path))

    check()
    assert seen == {True, False}  # neither a parser that takes all nor bytes that are all wrong


@pytest.mark.parametrize(
    "path",
    sorted(path for path in fuzzing.CORPUS.rglob("*") if path.is_file()),
    ids=lambda path: f"{path.parent.name}-{path.stem[:12]}",
)
def test_what_was_a_fault_once_is_none_any_more(path: Path, tmp_path):
    fuzzing.TARGETS[path.parent.name].check(path.read_bytes(), tmp_path)
