"""A training as lines of text, for a display and a log."""

from __future__ import annotations

from cifarnet import config as cfg
from cifarnet.callbacks.base import EpochResult
from cifarnet.formatting import align, count, duration
from cifarnet.runs import Run, RunRecord
from cifarnet.runs.records import PrecisionRecord

EPOCH_HEADER = (
    f"{'epoch':>7} {'loss':>7} {'accuracy':>9} {'val loss':>9} {'val acc':>8} {'images/s':>9} "
    f"{'time':>8}"
)


def describe_run(run: Run, record: RunRecord) -> str:
    """Describe what is trained, on what, how and where."""
    data, model = record.data, record.model
    splits = ", ".join(
        f"{data.counts.get(name, 0):,} to {verb}"
        for name, verb in (("train", "train"), ("validation", "validate"), ("test", "test"))
    )
    together = f", {record.workers} workers" if record.workers > 1 else ""
    stored = ", read from disk" if data.read_from_disk else ""
    rows = [
        (
            "Resuming" if record.resumed else "Training",
            f"{record.name}, seed {record.seed}{together}",
        ),
        ("data", f"{data.source}; {splits}{stored}"),
        ("network", f"{model.parameters:,} parameters, {model.macs:,} MACs per image"),
        *cfg.methods(cfg.load(run.config_file)),
        ("schedule", f"{count(record.epochs, 'epoch')}, {count(record.steps, 'step')}"),
        ("precision", _precision(record.precision)),
        ("run", str(run.path)),
    ]
    assumed = [] if record.teacher is None else record.teacher.assumed
    notes = [*data.notes, *(f"the teacher: {text}" for text in assumed)]
    notes += record.resumed[-1].notes if record.resumed else []
    return "\n".join([align(rows), *(f"note: {note}" for note in notes)])


def describe_epoch(result: EpochResult, best: bool) -> str:
    """Format an epoch as a line below `EPOCH_HEADER`."""
    loss, accuracy = result.validation_loss, result.validation_accuracy
    return (
        f"{result.epoch:>7} {result.loss:>7.4f} {result.accuracy:>9.4f} "
        f"{'-' if loss is None else f'{loss:.4f}':>9} "
        f"{'-' if accuracy is None else f'{accuracy:.4f}':>8} "
        f"{result.images_per_second:>9,.0f} {duration(result.seconds):>8}"
        f"{'  best' if best else ''}"
    )


def _precision(record: PrecisionRecord) -> str:
    if not record.milliseconds:
        return str(record.chosen)
    times = ", ".join(
        f"{name} {f'{ms:,.0f}' if ms >= 100 else f'{ms:.3g}'} ms"
        for name, ms in record.milliseconds.items()
    )
    return f"{record.chosen} (a convolution takes: {times})"
