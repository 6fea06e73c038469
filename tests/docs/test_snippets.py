"""The Python blocks of the README and the pages run, each page from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/python-api.md", "docs/tutorial.md"]  # the last needs a run


def test_python_blocks_run_as_a_script(tmp_path):
    """All in one process, as TensorFlow starts slowly; without a guard of the main module."""
    blocks = []
    for page in PAGES:
        found = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
        assert found, page
        blocks += found
    (tmp_path / "program.py").write_text("\n".join(blocks))
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "stopped half is enough" in done.stdout
    # One of the README and three of docs/python-api.md: no process of the benchmark ran it again.
    assert len(list((tmp_path / "runs").glob("[!.]*/run.json"))) == 4


def test_every_page_with_python_is_run():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = {str(path.relative_to(ROOT)) for path in pages if "```python" in path.read_text()}
    assert found == set(PAGES)
