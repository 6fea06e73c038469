"""Imports go downward, light modules load nothing heavy, files and functions are short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import cifarnet

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "cifarnet"
FILES = sorted(SOURCE.rglob("*.py"))
LIGHT = [
    "artifacts",
    "browser",
    "callbacks",
    "choices",
    "cli",
    "comparison",
    "config",
    "cost",
    "data",
    "errors",
    "evaluation.metrics",
    "formatting",
    "reporting",
    "requirements",
    "runs",
    "serving",
    "sweeps",
    "system",
]
HEAVY = {"tensorflow", "keras", "matplotlib", "sklearn"}


def test_imports_follow_the_contracts_of_pyproject():
    contracts = str(ROOT / "pyproject.toml")
    assert lint_imports(config_filename=contracts, cache_dir=None) == 0


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("errors.py", "from cifarnet import config"),
        ("errors.py", "def f():\n    from cifarnet.config import load"),
        ("runs/find.py", "import cifarnet.data"),
        ("config/text.py", "from cifarnet.config import loader"),  # a circle
        ("data/images.py", "import tensorflow"),
    ],
)
def test_the_contracts_see_a_wrong_import(module, text, tmp_path):
    package = tmp_path / "cifarnet"
    for path in FILES:
        copy = package / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (package / module).write_text((package / module).read_text() + f"\n{text}\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from importlinter import cli; "
    code += f"sys.exit(cli.lint_imports({str(ROOT / 'pyproject.toml')!r}, cache_dir=None))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.returncode == 1, done.stdout


def loaded(code: str) -> set[str]:
    """Return the top-level modules that a new Python has after running the code."""
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


def test_importing_the_library_loads_nothing_and_leaves_the_environment():
    code = "import os; before = dict(os.environ); import cifarnet; assert os.environ == before"
    assert loaded(code) & (HEAVY | {"pydantic", "numpy", "rich", "click"}) == set()


@pytest.mark.parametrize("name", cifarnet.__all__)
def test_every_public_name_is_there_and_hidden_by_no_module(name):
    thing = getattr(cifarnet, name)
    assert thing.__doc__
    assert name.islower() <= callable(thing)
    assert not (SOURCE / f"{name}.py").exists() and not (SOURCE / name).exists()
    if name.islower():
        assert "Example:" in thing.__doc__


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = cifarnet.trian


def test_another_backend_of_keras_is_a_stated_error():
    done = subprocess.run(
        [sys.executable, "-c", "import cifarnet; cifarnet.train"],
        capture_output=True,
        text=True,
        env={"PATH": "", "KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 1
    assert "received KERAS_BACKEND=jax. Unset it" in done.stderr


# --- size and types -------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_short_and_public_ones_typed(path):
    text = path.read_text()
    limit = 150 if path.parent.name == "cli" else 300
    assert text.count("\n") <= limit or path == SOURCE / "config" / "schema.py"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name
            if not node.name.startswith("_") and node.name != "get_config":  # Keras' own
                arguments = [a.annotation for a in [*node.args.args, *node.args.kwonlyargs]]
                for annotation in [node.returns, *arguments]:
                    assert annotation is None or "dict[str, Any]" not in ast.unparse(annotation), (
                        node.name
                    )


@pytest.mark.parametrize("path", sorted((SOURCE / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_commands_hold_no_use_case(path):
    """Commands parse, make one call and render: no arrays, no dataset, no network."""
    text = path.read_text()
    imported = "\n".join(line for line in text.splitlines() if "import" in line)
    for word in ("numpy", "keras", "tensorflow"):
        assert word not in imported.replace("load_tensorflow", ""), word
    for call in ("data.load(", "load_source(", "predictors.load(", "models.build("):
        assert call not in text, call
