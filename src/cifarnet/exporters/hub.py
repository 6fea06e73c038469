"""Write a run's folder for Hugging Face's Hub: its model card, network and page."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from cifarnet import artifacts, runs
from cifarnet.errors import JsonObject
from cifarnet.reporting import model_card, page, stored
from cifarnet.runs import Run


@dataclass(frozen=True)
class ModelCard:
    """A folder for the Hub.

    Attributes:
        folder: with the files.
        files: `README.md`, `model.keras` and `report.html`.
        license: that the card states; None: none.
        notes: records of which the card says nothing, and why.
    """

    folder: Path
    files: tuple[Path, ...]
    license: str | None
    notes: tuple[str, ...]

    @property
    def upload(self) -> str:
        """The command that uploads the folder; USER and the name are to be replaced."""
        return f"hf upload USER/NAME {shlex.quote(str(self.folder))}"

    def to_json(self) -> JsonObject:
        """Return it as a JSON-able dictionary."""
        return {
            "name": self.folder.name,
            "path": str(self.folder),
            "files": [str(path) for path in self.files],
            "license": self.license,
            "notes": list(self.notes),
            "upload": self.upload,
        }


def write_model_card(run: Run | str | Path, license: str | None = None) -> ModelCard:
    """Write a run's model card and network for Hugging Face's Hub, to `exports/hub/`.

    The card states what is recorded of the run's present weights, and nothing else. Records that
    cannot be read are noted. A folder that is there is replaced as a whole.

    Args:
        run: a run that has a model, its path or name, or `latest`.
        license: identifier of the Hub's list, such as `apache-2.0`; None: the card says that no
            license is stated.

    Raises:
        ConfigError: a license that is no identifier, or the run's config is damaged.
        RunError: no such run, `run.json` is damaged, another process writes the run, or the folder
            cannot be written.
        ArtifactError: `model.keras` is not the file that the run wrote.

    Example:
        card = cifarnet.write_model_card("latest", license="apache-2.0")
        print(card.folder, card.upload)
    """
    model_card.check_license(license)
    source = artifacts.trained_run(run)
    folder = source.exports_folder / "hub"
    with runs.lock(source):
        runs.check(source, source.model_file)
        found = stored.read(source)
        texts = {
            "README.md": model_card.render(found, license),
            "report.html": page.html(found, published=True),
        }
        with runs.changing(source, folder), runs.replace_folder(folder) as new:
            for name, text in texts.items():
                (new / name).write_text(text, encoding="utf-8")
            shutil.copyfile(source.model_file, new / source.model_file.name)
    files = tuple(folder / name for name in ("README.md", "model.keras", "report.html"))
    return ModelCard(folder, files, license, tuple(found.notes))
