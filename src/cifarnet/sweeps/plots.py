"""The plots of a sweep, by Optuna on Matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cifarnet.reporting import canvas
from cifarnet.runs.sweeps import SweepResults
from cifarnet.sweeps import importance
from cifarnet.sweeps.folder import SweepFolder
from cifarnet.sweeps.queue import Queue
from cifarnet.sweeps.space import Choices, Range, Space

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OBJECTIVE = "value (validation accuracy)"
_SHARE = "share of the variance of the values"
_MOST_IN_LEGEND = 20
_MOST_MARKS = 8  # of one key
_MOST_CHARACTERS = 24  # in the width of one key


@canvas.drawing()
def draw(folder: SweepFolder, queue: Queue, results: SweepResults) -> list[str]:
    """Draw the plots that the trials allow into `plots/`; return their files."""
    from matplotlib import pyplot

    pyplot.rcParams["figure.constrained_layout.use"] = True
    files = []
    for name, plot in _wanted(folder, queue, results).items():
        path = folder.plots_folder / f"{name}.png"
        before = pyplot.get_fignums()
        plot()
        make_legible(pyplot.gcf(), folder.space)
        canvas.save(pyplot.gcf(), path)
        for number in set(pyplot.get_fignums()) - set(before):
            pyplot.close(number)
        files.append(str(path))
    return files


def _wanted(
    folder: SweepFolder, queue: Queue, results: SweepResults
) -> dict[str, Callable[[], Any]]:
    from optuna.visualization import matplotlib as charts

    study = queue.study
    wanted: dict[str, Callable[[], Any]] = {}
    if results.counts.get("complete"):
        wanted["history"] = lambda: charts.plot_optimization_history(study, target_name=_OBJECTIVE)
        wanted["slices"] = lambda: charts.plot_slice(study, target_name=_OBJECTIVE)
    if folder.record.prune is not None and any(one.epochs for one in results.trials):
        wanted["epochs"] = lambda: charts.plot_intermediate_values(study).set(
            title="Validation Accuracy by Epoch", xlabel="Epoch", ylabel="validation accuracy"
        )
    if results.importance is not None:
        numbered = importance.numbered(folder.space, queue.trials())
        wanted["importance"] = lambda: charts.plot_param_importances(
            numbered, evaluator=importance.evaluator()
        ).set(xlabel=_SHARE)
    return wanted


def make_legible(figure: Figure, space: Space) -> None:
    """Give a figure of Optuna percent, integers for trials and epochs, and labels that fit."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure.set_layout_engine("constrained")
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            continue
        key, legend = axes.get_xlabel(), axes.get_legend()
        if key != _SHARE:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        if key in space:
            _label(axes, key, space[key])
        elif key != _SHARE:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if legend and (key == _SHARE or len(legend.get_texts()) > _MOST_IN_LEGEND):
            legend.remove()


def _label(axes: Axes, key: str, dimension: Choices | Range) -> None:
    """Write some values of a key as plain text: of a range its bounds and its middle."""
    if len(key) > _MOST_CHARACTERS:
        axes.set_xlabel(".\n".join(key.rsplit(".", 1)))
    axes.minorticks_off()
    if isinstance(dimension, Range):
        marks = [dimension.low, dimension.middle, dimension.high]
        axes.set_xticks(marks, [f"{one:.4g}" if one % 1 else f"{one:.0f}" for one in marks])
        first, _, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")  # so that neighbors do not touch
        last.set_horizontalalignment("right")
        return
    texts = [one.get_text().strip("'") for one in axes.get_xticklabels()]
    every = math.ceil(len(texts) / _MOST_MARKS)
    axes.set_xticks(axes.get_xticks()[::every], texts[::every])
    if sum(map(len, texts)) > _MOST_CHARACTERS:
        for label in axes.get_xticklabels():
            label.set(rotation=25, horizontalalignment="right")
