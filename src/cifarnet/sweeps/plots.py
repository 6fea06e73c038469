"""The plots of a sweep, by Optuna on Matplotlib."""

from __future__ import annotations

from collections.abc import Callable

from cifarnet.reporting import canvas
from cifarnet.runs.sweeps import SweepResults
from cifarnet.sweeps import importance
from cifarnet.sweeps.folder import SweepFolder
from cifarnet.sweeps.queue import Queue

_OBJECTIVE = "validation accuracy"


@canvas.drawing()
def draw(folder: SweepFolder, queue: Queue, results: SweepResults) -> list[str]:
    """Draw the plots that the trials allow into `plots/`; return their files."""
    from matplotlib import pyplot

    files = []
    for name, plot in _wanted(folder, queue, results).items():
        path = folder.plots_folder / f"{name}.png"
        before = pyplot.get_fignums()
        plot()
        canvas.save(pyplot.gcf(), path)
        for number in set(pyplot.get_fignums()) - set(before):
            pyplot.close(number)
        files.append(str(path))
    return files


def _wanted(
    folder: SweepFolder, queue: Queue, results: SweepResults
) -> dict[str, Callable[[], object]]:
    from optuna.visualization import matplotlib as charts

    study = queue.study
    wanted: dict[str, Callable[[], object]] = {}
    if results.counts.get("complete"):
        wanted["history"] = lambda: charts.plot_optimization_history(study, target_name=_OBJECTIVE)
        wanted["slices"] = lambda: charts.plot_slice(study, target_name=_OBJECTIVE)
    if folder.record.prune is not None and any(one.epochs for one in results.trials):
        wanted["epochs"] = lambda: charts.plot_intermediate_values(study)
    if results.importance is not None:
        numbered = importance.numbered(folder.space, queue.trials())
        wanted["importance"] = lambda: charts.plot_param_importances(
            numbered, evaluator=importance.evaluator(), target_name=_OBJECTIVE
        )
    return wanted
