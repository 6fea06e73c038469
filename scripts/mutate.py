"""Change one place of a module at a time, and count the changes that its tests notice.

    python scripts/mutate.py
    python scripts/mutate.py training/step.py data/augment.py --changes 40 --output mutation.json

For modules that import TensorFlow, where every change would cost mutmut a new interpreter: here
tests run in processes forked from one that has the libraries loaded, but not cifarnet, which is
imported from a copy of `src/` with one change. The tests must pass on an unchanged copy and fail on
one whose module cannot be imported, else the module is refused. Forks need Linux or macOS.
"""

from __future__ import annotations

import ast
import compileall
import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import json
import multiprocessing
import os
import py_compile
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
PACKAGE = "src/cifarnet"
_PREDICTORS = ("tests/predictors/test_predictors.py", "tests/predictors/test_own_files.py")
# Not all of the file, which takes minutes.
_TRAINING = "tests/training/test_training.py::test_"
_AVERAGES = tuple(
    _TRAINING + name
    for name in (
        "the_average_follows_its_formula",
        "lookahead_follows_its_definition",
        "lookahead_ends_on_the_slow_copy",
    )
)
_STEP = tuple(
    _TRAINING + name
    for name in (
        "two_steps_equal_their_arithmetic",
        "a_frozen_layer_is_trained_for_its_epochs_only",
        "freezing_an_unknown_layer_is_refused",
        "regularizers_of_layers_count",
        "validation_is_what_the_kept_weights_give",
        "a_batch_larger_than_the_set_is_refused",
        "every_epoch_sees_every_image_in_another_order",
    )
)
_LOOP = tuple(
    _TRAINING + name
    for name in (
        "checkpoints_as_often_as_asked",
        "select_best_keeps_the_best_epochs_weights",
        "without_validation_images_there_is_nothing_to_validate",
        "early_stopping_ends_when_the_loss_no_longer_falls",
    )
)
# Tests of each module, the quickest first.
TESTS: dict[str, tuple[str, ...]] = {
    "training/schedules.py": ("tests/training/test_schedules.py",),
    "training/averages.py": _AVERAGES,
    "training/step.py": ("tests/training/test_step.py", *_AVERAGES, *_STEP),
    "training/loop.py": ("tests/training/test_loop.py", *_LOOP),
    "data/augment.py": ("tests/data/test_augment.py",),
    "data/mixing.py": ("tests/data/test_mixing.py",),
    "data/sampling.py": ("tests/data/test_sampling.py",),
    "data/dataset.py": ("tests/data/test_dataset.py", "tests/data/test_image_folder.py"),
    "data/recorded.py": ("tests/data/test_recorded.py", "tests/test_changed_data.py"),
    "benchmarking.py": ("tests/test_benchmarking.py",),
    "exporters/targets.py": ("tests/exporters/test_targets.py",),
    "exporters/parity.py": ("tests/exporters/test_parity.py",),
    "exporters/run.py": ("tests/exporters/test_decisions.py", "tests/exporters/test_export.py"),
    "scores.py": ("tests/evaluation/test_evaluation.py",),
    "evaluation/metrics.py": ("tests/evaluation/test_evaluation.py",),
    "requirements.py": ("tests/evaluation/test_evaluation.py",),
    "evaluation/tta.py": ("tests/evaluation/test_evaluation.py",),
    "evaluation/run.py": ("tests/evaluation",),
    "evaluation/classify.py": ("tests/evaluation",),
    "predictors/preprocessing.py": (
        "tests/predictors/test_values.py",
        "tests/predictors/test_predictors.py::test_preprocessing_is_checked",
    ),
    "predictors/inputs.py": ("tests/predictors/test_values.py",),
    "predictors/outputs.py": ("tests/predictors/test_values.py",),
    "predictors/base.py": ("tests/predictors/test_values.py",),
    "predictors/__init__.py": _PREDICTORS,
    "predictors/keras_config.py": ("tests/predictors/test_keras_files.py",),
    "predictors/keras_file.py": ("tests/predictors/test_keras_files.py", *_PREDICTORS),
    "predictors/litert.py": ("tests/predictors/test_litert_files.py", *_PREDICTORS),
    "predictors/litert_metadata.py": ("tests/predictors/test_litert_files.py",),
    "predictors/onnx.py": ("tests/predictors/test_onnx_files.py", *_PREDICTORS),
    "predictors/saved_model.py": _PREDICTORS,
}
LIBRARIES = [
    "tensorflow",
    "keras",
    "sklearn.metrics",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "PIL.Image",
    "pydantic",
    "rich",
    "onnxruntime",
    "tf2onnx",
    "ai_edge_litert.interpreter",
    "pytest",
    "hypothesis",
]
COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
OPPOSITES = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil", "argmin": "argmax"}
OPPOSITES |= {right: left for left, right in OPPOSITES.items()}
CHOICE = re.compile(r"[\w.+-]+")  # a text that is a name, not a message


@dataclasses.dataclass(frozen=True)
class Change:
    """One change of a module: the bytes `start` to `end` become `text`."""

    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """Return the changed module."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def diff(self, source: bytes, name: str) -> str:
        """Return what changes, without context."""
        before, after = (text.decode().splitlines() for text in (source, self.apply(source)))
        lines = list(difflib.unified_diff(before, after, lineterm="", n=0))
        return "\n".join([name, *lines[2:]])


class Changes(ast.NodeVisitor):
    """All changes of a module, but for annotations, docstrings and f-strings."""

    def __init__(self, source: bytes) -> None:
        self.found: list[Change] = []
        self._source = source
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts
        self.visit(ast.parse(source))

    def visit(self, node: ast.AST) -> None:
        """Add the changes of a node and of all below it."""
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns") or isinstance(node, ast.JoinedStr):
                continue
            if name == "decorator_list" and isinstance(node, ast.ClassDef):
                continue  # of dataclasses
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _is_docstring(child):
                    self.visit(child)
        method = getattr(self, f"visit_{type(node).__name__}", None)
        if method is not None:
            method(node)

    def _place(self, node: Any) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _replace(self, node: ast.AST, text: str) -> None:
        self.found.append(Change(*self._place(node), text))

    def _between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        start, end = self._place(left)[1], self._place(right)[0]
        at = self._source.index(old.encode(), start, end)
        self.found.append(Change(at, at + len(old), new))

    def visit_Compare(self, node: ast.Compare) -> None:
        """Move a boundary, or take the opposite."""
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self._between(left, right, *COMPARISONS[type(operator)])

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Take the opposite operation."""
        sides = (node.left, node.right)
        if any(isinstance(side, ast.Constant) and side.value is None for side in sides):
            return  # a type
        if type(node.op) in ARITHMETIC:
            self._between(*sides, *ARITHMETIC[type(node.op)])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Take the opposite operation, or none."""
        if type(node.op) in ARITHMETIC:
            old, new = ARITHMETIC[type(node.op)]
            self._between(node.target, node.value, f"{old}=", f"{new}=")
            self._between(node.target, node.value, f"{old}=", "=")

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Swap `and` and `or`."""
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, *words)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Leave out `not` or a sign."""
        self.found.append(Change(self._place(node)[0], self._place(node.operand)[0], ""))

    def visit_Constant(self, node: ast.Constant) -> None:
        """Take another number, truth value or name."""
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int):
            self._replace(node, str(value + 1))
        elif isinstance(value, float):
            self._replace(node, repr(2 * value or 1.0))
        elif isinstance(value, str) and CHOICE.fullmatch(value):
            self._replace(node, repr(value + "X"))

    def visit_Name(self, node: ast.Name) -> None:
        """Swap minimum and maximum and the like."""
        if node.id in OPPOSITES:
            self._replace(node, OPPOSITES[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Swap minimum and maximum and the like."""
        if node.attr in OPPOSITES:
            end = self._place(node)[1]
            self.found.append(Change(end - len(node.attr), end, OPPOSITES[node.attr]))

    def visit_If(self, node: ast.If | ast.IfExp | ast.While) -> None:
        """Take the opposite of a condition that has no operator of its own."""
        if isinstance(node.test, (ast.Name, ast.Attribute, ast.Call)):
            start, end = self._place(node.test)
            condition = self._source[start:end].decode()
            self.found.append(Change(start, end, f"not ({condition})"))

    visit_IfExp = visit_If
    visit_While = visit_If

    def visit_Expr(self, node: ast.Expr) -> None:
        """Leave out a call whose result is not used."""
        if isinstance(node.value, ast.Call):
            self._replace(node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        """Run a loop to its end."""
        self._replace(node, "continue")


def _is_docstring(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def choose(source: bytes, count: int, seed: int) -> list[Change]:
    """Choose at most `count` of a module's changes, in order of place."""
    found = sorted(set(Changes(source).found), key=lambda one: (one.start, one.end, one.text))
    if len(found) > count:
        found = [found[i] for i in sorted(random.Random(seed).sample(range(len(found)), count))]
    return found


class Copies:
    """Copies of `src/`, one for each process that runs at the same time."""

    def __init__(self, folder: Path, count: int) -> None:
        self.free = [folder / str(i) for i in range(count)]
        for copy in self.free:
            shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pyc*__"))
            (copy / "configs").symlink_to(ROOT / "configs")
            # By content: a change often leaves size and second of a file as they were.
            mode = py_compile.PycInvalidationMode.CHECKED_HASH
            compileall.compile_dir(copy / "src", quiet=2, invalidation_mode=mode)


def run_tests(copy: Path, tests: Sequence[str]) -> None:
    """Run tests on a copy, and end this process with the exit code of pytest."""
    import pytest

    os.setsid()
    log = os.open(copy / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(ROOT)
    source = str(copy / "src")
    os.environ |= {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path.insert(0, source)
    sys.dont_write_bytecode = True
    spec = importlib.util.find_spec("cifarnet")
    assert spec is not None and (spec.origin or "").startswith(source), spec
    shutil.rmtree(copy / "tmp", ignore_errors=True)
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    code = pytest.main([*options, "--basetemp", str(copy / "tmp"), *tests])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@dataclasses.dataclass
class Job:
    """Tests that run on a changed copy.

    Attributes:
        number: place in the list of changed sources.
        started: `time.monotonic()`.
    """

    number: int
    process: Any
    copy: Path
    started: float

    def end(self, late: bool) -> int | None:
        """End all its processes; return the exit code, None if it is late."""
        if not late:
            self.process.join()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        return None if late else self.process.exitcode


def test_all(
    module: str, sources: Sequence[bytes], copies: Copies, seconds: float
) -> Iterator[tuple[int, int | None]]:
    """Run a module's tests on each of some versions of it, several at a time.

    Args:
        module: its path in the package.
        sources: its versions.
        copies: where they are tried.
        seconds: limit for one of them.

    Yields:
        The number of a version and the exit code of its tests, None after the time limit.
    """
    original = (ROOT / PACKAGE / module).read_bytes()
    waiting, running = list(enumerate(sources)), dict[Any, Job]()
    while waiting or running:
        while waiting and copies.free:
            number, source = waiting.pop(0)
            copy = copies.free.pop()
            (copy / PACKAGE / module).write_bytes(source)
            process = multiprocessing.get_context("fork").Process(
                target=run_tests, args=(copy, TESTS[module])
            )
            process.start()
            running[process.sentinel] = Job(number, process, copy, time.monotonic())
        first = min(job.started for job in running.values()) + seconds
        ended = connection.wait(list(running), max(0.0, first - time.monotonic()))
        late = [key for key, job in running.items() if time.monotonic() > job.started + seconds]
        for key in {*ended, *late}:
            job = running.pop(key)
            code = job.end(late=key not in ended)
            (job.copy / PACKAGE / module).write_bytes(original)
            copies.free.append(job.copy)
            yield job.number, code


def try_module(
    module: str, copies: Copies, changes: int, seed: int, limit: float
) -> dict[str, Any]:
    """Try a module's changes.

    Returns:
        Numbers of possible, tried and noticed changes, and those that no test noticed, as diffs.

    Raises:
        click.ClickException: its tests fail without a change, or pass without the module.
    """
    source = (ROOT / PACKAGE / module).read_bytes()
    start = time.monotonic()
    controls = dict(test_all(module, [source, b"raise ImportError\n" + source], copies, limit))
    if controls[0] != 0 or controls[1] == 0:
        logs = "\n".join((copy / "log.txt").read_text()[-2000:] for copy in copies.free)
        raise click.ClickException(
            f"{module}: the tests end with {controls}, expected 0 and not 0\n{logs}"
        )
    chosen = choose(source, changes, seed)
    survivors = {}
    versions = [one.apply(source) for one in chosen]
    # A change may make a test endless.
    seconds = min(limit, 60 + 3 * (time.monotonic() - start))
    for number, code in test_all(module, versions, copies, seconds):
        if code == 0:
            survivors[number] = chosen[number].diff(source, module)
            click.echo(survivors[number] + "\n", err=True)
    return {
        "possible": len(set(Changes(source).found)),
        "tried": len(chosen),
        "noticed": len(chosen) - len(survivors),
        "survivors": [survivors[number] for number in sorted(survivors)],
    }


@click.command()
@click.argument("modules", nargs=-1, type=click.Choice(list(TESTS)), metavar="[MODULE]...")
@click.option("--changes", default=25, show_default=True, help="At most, of each module.")
@click.option("--seed", default=0, show_default=True, help="Of the choice of changes.")
@click.option("--jobs", default=2, show_default=True, help="Processes at the same time.")
@click.option("--limit", default=600.0, show_default=True, help="Seconds for one change.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file of the results.")
def main(
    modules: tuple[str, ...], changes: int, seed: int, jobs: int, limit: float, output: Path | None
) -> None:
    """Try changes of modules, all by default, and print what no test noticed."""
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "cifarnet" not in sys.modules
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        copies = Copies(Path(folder), jobs)
        for module in modules or TESTS:
            result = results[module] = try_module(module, copies, changes, seed, limit)
            click.echo(f"{module}: {result['noticed']} of {result['tried']} changes noticed")
            if output is not None:
                output.write_text(json.dumps({"seed": seed, "modules": results}, indent=2) + "\n")
    tried, noticed = (sum(one[key] for one in results.values()) for key in ("tried", "noticed"))
    click.echo(f"all: {noticed} of {tried}, {100 * noticed / max(1, tried):.1f} %")


if __name__ == "__main__":
    main()
