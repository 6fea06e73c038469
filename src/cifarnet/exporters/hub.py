"""Write a run's folder for Hugging Face's Hub: its model card, network and page."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from cifarnet import artifacts, cost, runs
from cifarnet.reporting import card_records, model_card
from cifarnet.runs import Run
from cifarnet.runs.documents import JsonObject

_README, _PAGE = "README.md", "report.html"


@dataclass(frozen=True)
class ModelCard:
    """A folder for the Hub.

    Attributes:
        folder: with the files.
        files: `README.md`, `model.keras`, and `report.html` if the run has one.
        license: that the card states; None: none.
        left_out: files of the run that are of older weights, of which the card says nothing.
    """

    folder: Path
    files: tuple[Path, ...]
    license: str | None
    left_out: tuple[str, ...]

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
            "left_out": list(self.left_out),
            "upload": self.upload,
        }


def write_model_card(run: Run | str | Path, license: str | None = None) -> ModelCard:
    """Write a run's model card and network for Hugging Face's Hub, to `exports/hub/`.

    The card states what is recorded of the run, and nothing else. A folder that is there is
    replaced as a whole.

    Args:
        run: a run that has a model, its path or name, or `latest`.
        license: identifier of the Hub's list, such as `apache-2.0`; None: the card says that no
            license is stated.

    Raises:
        ConfigError: a license that is no identifier, or the run's config is damaged.
        RunError: no such run, a record is damaged, another process writes the run, or the folder
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
        page = source.path / _PAGE
        has_page = page.is_file()
        card = card_records.read(source)
        text = model_card.render(
            card,
            license,
            None if card.record.cost is None else cost.describe(card.record.cost),
            _PAGE if has_page else None,
        )
        copied = [source.model_file, *([page] if has_page else [])]
        with runs.changing(source, folder), runs.replace_folder(folder) as new:
            (new / _README).write_text(text, encoding="utf-8")
            for path in copied:
                shutil.copyfile(path, new / path.name)
    names = (_README, *(path.name for path in copied))
    return ModelCard(folder, tuple(folder / name for name in names), license, card.left_out)
