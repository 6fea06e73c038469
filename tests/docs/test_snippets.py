"""The Python blocks of the README and the pages run, each page from top to bottom."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/python-api.md", "docs/tutorial.md"]  # the last needs a run


def test_python_blocks_run(tmp_path, monkeypatch):
    """All in one folder and process, as TensorFlow starts slowly."""
    monkeypatch.chdir(tmp_path)
    for page in PAGES:
        blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
        assert blocks, page
        exec(compile("\n".join(blocks), page, "exec"), {"__name__": page})


def test_every_page_with_python_is_run():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = {str(path.relative_to(ROOT)) for path in pages if "```python" in path.read_text()}
    assert found == set(PAGES)
