"""The record of a training before its first step."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone

from cifarnet import config as cfg
from cifarnet import data, models, system
from cifarnet.backend import tf
from cifarnet.runs.records import (
    DataRecord,
    DeterminismRecord,
    MachineRecord,
    ModelRecord,
    ResumeRecord,
    RunRecord,
    ThreadsRecord,
)
from cifarnet.training.distillation import Teacher
from cifarnet.training.step import Trainer


def describe(
    config: cfg.Config, dataset: data.Dataset, trainer: Trainer, teacher: Teacher | None
) -> RunRecord:
    """Describe the dataset, network, host and versions of a training."""
    return RunRecord(
        name=config.name,
        started=now(),
        seed=config.seed,
        data=DataRecord(
            source=dataset.description,
            classes=list(dataset.classes),
            counts={name: len(dataset.images(name).labels) for name in data.SPLITS},
            digests=dataset.digests(),
            notes=list(dataset.notes),
            read_from_disk=dataset.is_on_disk,
        ),
        model=ModelRecord(
            parameters=sum(layer.parameters for layer in models.summary(trainer.model)),
            macs=models.total_macs(trainer.model),
        ),
        teacher=None if teacher is None else teacher.record,
        epochs=config.train.epochs,
        steps=trainer.total_steps,
        machine=MachineRecord(**asdict(system.describe())),
        threads=ThreadsRecord(
            intra_op=tf.config.threading.get_intra_op_parallelism_threads(),
            inter_op=tf.config.threading.get_inter_op_parallelism_threads(),
        ),
        workers=trainer.team.count,
        versions=system.versions(),
        git_commit=system.git_commit(),
        determinism=_determinism(trainer.team.count),
    )


def reopen(before: RunRecord, now_: RunRecord, notes: list[str]) -> RunRecord:
    """Return the record of a run that is resumed.

    Args:
        before: the record so far.
        now_: what `describe` gives now.
        notes: what else differs from before.
    """
    moved = _differences(before, now_)
    determinism = before.determinism
    if moved:
        determinism = DeterminismRecord(
            bit_deterministic=False,
            needs=f"training again, or resuming where it began: {'; '.join(moved)}",
        )
    update = {
        key: getattr(now_, key)
        for key in ("teacher", "epochs", "steps", "machine", "threads", "workers")
    }
    return before.model_copy(
        update={
            **update,
            "data": before.data.replace(read_from_disk=now_.data.read_from_disk),
            "versions": now_.versions,
            "determinism": determinism,
            "resumed": [*before.resumed, ResumeRecord(at=now(), notes=[*notes, *moved])],
            "status": "running",
            "stop_reason": None,
        }
    )


def _determinism(workers: int) -> DeterminismRecord:
    """Return whether training again gives the same bits, and what that requires.

    On CPUs every pair of runs compared was equal, in every precision and with XLA. Another number
    of threads or workers changes the order of sums, and so the bits. GPUs were not compared.
    """
    if tf.config.list_physical_devices("GPU"):
        return DeterminismRecord(
            needs="training on the CPU: set CUDA_VISIBLE_DEVICES to an empty string"
        )
    needs = "the machine, threads and versions of run.json"
    if workers > 1:
        needs += f", and {workers} workers on machines like it"
    return DeterminismRecord(bit_deterministic=True, needs=needs)


def _differences(before: RunRecord, now_: RunRecord) -> list[str]:
    """Return each property of the host or the versions that differs, as `name: old -> new`."""
    old, new = (
        {
            **{key: getattr(one.machine, key) for key in ("processor", "cores", "onednn")},
            "intra_op threads": one.threads.intra_op,
            "inter_op threads": one.threads.inter_op,
            "workers": one.workers,
            **one.versions,
        }
        for one in (before, now_)
    )
    return [f"{key}: {old.get(key)} -> {new[key]}" for key in new if new[key] != old.get(key)]


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
