"""What a config does beyond plain SGD on its own images, in words."""

from __future__ import annotations

from pathlib import Path

from cifarnet.config.schema import Config


def methods(config: Config) -> list[tuple[str, str]]:
    """Return a row of name and text for each of teacher, mix, sizes and Muon that is used."""
    train, data = config.train, config.data
    rows = []
    if train.distill is not None:
        one = train.distill
        # With its folder: the file of each run is `model.keras`.
        name = Path(*Path(one.teacher).parts[-2:]).as_posix()
        text = f"{name} (temperature {one.temperature:g}, weight {one.weight:g})"
        rows.append(("teacher", text))
    if data.mix is not None:
        rows.append(("mix", f"{data.mix}, alpha {data.mix_alpha:g}"))
    if train.resolution:
        parts = [f"{stage.size} pixels until {100 * stage.until:g} %" for stage in train.resolution]
        rows.append(("sizes", f"{', '.join(parts)} of the steps, then {data.image_size}"))
    if train.muon is not None:
        rows.append(("Muon", f"convolutions, learning rate {train.muon.learning_rate:g}"))
    return rows
