"""The house: modules import downward only, and light ones stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "cifarnet"
LEVELS = [
    {"errors"},
    {"config", "machine"},
    {"rundir", "sources", "augment", "layers", "schedules"},
    {"data", "models"},
    {"predictors", "train"},
    {"evaluate"},
    {"report"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
HEAVY = {"tensorflow", "keras", "matplotlib", "sklearn"}


def unit(path: Path) -> str:
    """The module or package of the table that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of cifarnet's modules that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")
    return {name.removeprefix("cifarnet.") for name in found if name.startswith("cifarnet.")}


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path):
    own = unit(path)
    assert own in LEVEL, f"{own} has no level: add it to the table"
    for name in imports(path):
        other = name.split(".")[0]
        assert other == own or LEVEL[other] < LEVEL[own], f"{path} imports {name}"


@pytest.mark.parametrize("package", sorted(p.name for p in SOURCE.iterdir() if p.is_dir()))
def test_packages_have_no_circles(package):
    if package == "__pycache__":
        return
    stems = {path.stem: path for path in (SOURCE / package).glob("*.py") if path.stem[0] != "_"}
    graph = {
        stem: {n.split(".")[1] for n in imports(path) if n.split(".")[0] == package and "." in n}
        & set(stems)
        for stem, path in stems.items()
    }
    while free := [stem for stem, needs in graph.items() if not needs & set(graph)]:
        for stem in free:
            del graph[stem]
    assert not graph, f"a circle among {sorted(graph)}"


@pytest.mark.parametrize(
    "module", ["errors", "config", "machine", "rundir", "sources", "report", "cli"]
)
def test_light_modules_load_nothing_heavy(module):
    code = f"import sys, cifarnet.{module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom cifarnet.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"assert not ({HEAVY!r} | {{'pydantic', 'numpy', 'rich'}}) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
