"""The house: modules import downward only, and light ones stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "cifarnet"
LEVELS = [
    {"choices", "errors", "system", "__init__"},
    {"config", "runs"},
    {"callbacks", "data", "models", "reporting"},
    {"training", "predictors"},
    {"artifacts", "exporters"},
    {"benchmarking", "evaluation"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
LIGHT = ["errors", "system", "config", "runs", "callbacks", "data", "reporting", "cli"]
HEAVY = {"tensorflow", "keras", "matplotlib", "sklearn"}


def module_name(path: Path, source: Path) -> str:
    """`training.loop` for `training/loop.py`, `training` for `training/__init__.py`."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def read(source: Path) -> dict[str, set[str]]:
    """Each module's imports of the package, anywhere in its text; all without `cifarnet.`."""
    files = {module_name(path, source): path for path in source.rglob("*.py")}
    return {name: imports(path.read_text(), set(files)) for name, path in files.items()}


def imports(text: str, modules: set[str]) -> set[str]:
    """The modules a text imports: at the top, in functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            assert called not in ("import_module", "__import__"), f"line {node.lineno}: {called}"
    names = {name.partition(".")[2] for name in found if name.split(".")[0] == "cifarnet"}
    # `from cifarnet.training import x` and `from cifarnet import training` both import it.
    return {name if name in modules else name.rpartition(".")[0] or "__init__" for name in names}


def faults(graph: dict[str, set[str]]) -> list[str]:
    """What the levels forbid: unknown modules, imports that do not go down, circles."""
    found = []
    for name, needs in graph.items():
        own = name.split(".")[0]
        if own not in LEVEL:
            found.append(f"{own} has no level: add it to the table")
            continue
        others = {other.split(".")[0] for other in needs} - {own}
        found += [
            f"{name} (level {LEVEL[own]}) imports {other}"
            for other in sorted(others)
            if LEVEL.get(other, len(LEVELS)) >= LEVEL[own]
        ]
    rest = {
        name: {other for other in needs if other.split(".")[0] == name.split(".")[0]} - {name}
        for name, needs in graph.items()
    }
    while free := [name for name, needs in rest.items() if not needs & set(rest)]:
        for name in free:
            del rest[name]
    return found + ([f"a circle in or above {sorted(rest)}"] if rest else [])


def test_every_module_has_a_level_and_imports_go_down():
    graph = read(SOURCE)
    assert {"errors", "config.loader", "data.cifar10", "cli"} <= set(graph)
    assert "config.schema" in graph["config.loader"]
    assert faults(graph) == []


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("config/b.py", "from cifarnet import errors", None),
        ("config/b.py", "from cifarnet import __version__", None),
        ("errors.py", "from cifarnet import config", "errors (level 0) imports config"),
        ("errors.py", "import cifarnet.config", "errors (level 0) imports config"),
        ("errors.py", "import cifarnet.config as c, sys", "errors (level 0) imports config"),
        (
            "errors.py",
            "def f():\n  from cifarnet.config import load",
            "errors (level 0) imports con",
        ),
        (
            "errors.py",
            "if TYPE_CHECKING:\n  import cifarnet.config",
            "errors (level 0) imports con",
        ),
        ("runs.py", "from cifarnet.data import x", "runs (level 1) imports data"),
        ("config/sub.py", "import cifarnet.runs", "config.sub (level 1) imports runs"),
        ("config/a.py", "from cifarnet.config import b", None),
        ("config/a.py", "from cifarnet.config import load", "a circle in or above"),
        ("mine.py", "", "mine has no level: add it to the table"),
    ],
)
def test_the_check_itself(module, text, fault, tmp_path):
    """On a small house of one wrong (or right) import."""
    files = dict.fromkeys(["config/b.py", "errors.py", "runs.py", "data/__init__.py"], "")
    files |= {"__init__.py": "", "config/__init__.py": "from cifarnet.config import a"}
    for name, content in {**files, "config/a.py": "", module: text}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    found = "\n".join(faults(read(tmp_path)))
    assert (fault is None and found == "") or (fault is not None and fault in found)


@pytest.mark.parametrize("text", ["from . import config", "importlib.import_module('cifarnet.x')"])
def test_imports_that_cannot_be_checked_are_refused(text):
    with pytest.raises(AssertionError, match="line 1"):
        imports(text, set())


def loaded(code: str) -> set[str]:
    """The top-level modules that a new Python has after running the code."""
    show = "import sys; print('loaded', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_what_is_loaded_is_seen():
    assert {"matplotlib", "cifarnet"} <= loaded("import cifarnet.errors, matplotlib.ticker")


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module):
    assert loaded(f"import cifarnet.{module}") & HEAVY == set()


def test_help_loads_nothing_heavy():
    code = "from cifarnet.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert loaded(code) & (HEAVY | {"pydantic", "numpy", "rich"}) == set()
