"""A worker that is not the chief: it does what the chief says, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cifarnet import config as cfg
from cifarnet import data
from cifarnet.backend import default_settings
from cifarnet.callbacks import Callback, job
from cifarnet.callbacks.interrupt import stop_signal
from cifarnet.errors import CifarnetError, Interrupted, TrainingError
from cifarnet.training import cluster
from cifarnet.training.meeting import wait_for_chief
from cifarnet.training.step import Trainer
from cifarnet.training.team import Order, Team
from cifarnet.training.workers import Workers


@default_settings()
def join_training(
    workers: Workers,
    config: cfg.Config | str | Path | None = None,
    data_path: Path | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> None:
    """Take part in a training that another process leads, until it ends.

    Args:
        workers: of which this is not the first, the chief, that trains or resumes.
        config: must be the chief's, but for `data.path` and `data.memory_share`; None: what the
            chief says.
        data_path: where the images are here; None: where the config says.
        callbacks: receive what is waited for and downloaded.

    Raises:
        ConfigError: the chief has another config, other workers or other versions; TensorFlow's
            devices are already in use in this process.
        DataError: the images cannot be loaded.
        TrainingError: a worker is missing or was lost, or the chief failed.
        Interrupted: a worker was asked to stop; the chief's run can be resumed.

    Example:
        workers = cifarnet.Workers.of("a:2222,b:2222", 1)
        cifarnet.join_training(workers)
    """
    own = cfg.load(config) if isinstance(config, str | Path) else config
    cluster.check_unused()
    with job(callbacks) as report:
        report.on_stage(f"waiting for {workers.names[0]}")
        invitation = wait_for_chief(workers, own)
        settings = invitation.config
        here = own.data if own else settings.data
        update = {"path": data_path or here.path, "memory_share": here.memory_share}
        images = settings.data.model_copy(update=update)
        try:
            dataset = data.load(images, settings.seed, report.on_fetch)
        except CifarnetError as error:
            invitation.decline(error)
            raise
        settings, team = invitation.accept(workers, dataset)
        report.on_stage(f"training with {workers.names[0]}")
        _follow(Trainer(settings, dataset, team), team, report.on_stop)


def _follow(trainer: Trainer, team: Team, notify: Callable[[], None]) -> None:
    trainer.share_state()
    chief = team.names[0]
    with stop_signal(notify) as stop:
        while True:
            told = team.tell(stop=stop.is_set())
            if told.order is Order.STEPS:
                trainer.steps(told.steps)
            elif told.order is Order.EPOCH:
                trainer.validate()
                trainer.compare()
            elif told.order is Order.END:
                return
            elif told.order is Order.STOP:
                raise Interrupted(f"the run of {chief} can be resumed: {team.resuming}")
            else:
                raise TrainingError(
                    f"{chief} failed; its message says why. Then resume: {team.resuming}"
                )
