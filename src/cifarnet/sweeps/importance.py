"""How much of the variance of the trials' values each key explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifarnet.runs.sweeps import Importance
from cifarnet.sweeps.space import Choices, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.trial import FrozenTrial

LEAST_TRIALS = 20
_METHOD = "fANOVA (Hutter, Hoos and Leyton-Brown 2014), as Optuna has it"


def measure(space: Space, trials: Sequence[FrozenTrial]) -> Importance | None:
    """Return the importance of each key; None with fewer than 20 complete trials or two keys.

    Args:
        space: what the sweep varies.
        trials: of the sweep, in any state.
    """
    study = numbered(space, trials)
    complete = study.get_trials(deepcopy=False)
    keys = {key for one in complete for key in one.params}
    values = {one.value for one in complete}
    if len(complete) < LEAST_TRIALS or len(keys) < 2 or len(values) < 2:
        return None
    from optuna.importance import get_param_importances

    shares = get_param_importances(study, evaluator=evaluator())
    return Importance(
        method=_METHOD,
        trials=len(complete),
        shares={key: float(share) for key, share in shares.items()},
    )


def evaluator() -> FanovaImportanceEvaluator:
    """Return Optuna's fANOVA, always with the same trees."""
    from optuna.importance import FanovaImportanceEvaluator

    return FanovaImportanceEvaluator(seed=0)


def numbered(space: Space, trials: Sequence[FrozenTrial]) -> Study:
    """Return a study of the complete trials, with values of a list as their places in it.

    The time of Optuna's fANOVA grows exponentially with the number of unordered values.
    """
    import optuna
    from optuna.distributions import IntDistribution
    from optuna.trial import TrialState, create_trial

    study = optuna.create_study(direction="maximize")
    for trial in trials:
        if trial.state != TrialState.COMPLETE:
            continue
        parameters: dict[str, float] = {}
        distributions: dict[str, BaseDistribution] = {}
        for key, one in space.items():
            if not isinstance(one, Choices):
                parameters[key] = trial.params[key]
                distributions[key] = one.distribution()
            elif len(one.values) > 1:
                parameters[key] = one.values.index(one.value(trial.params[key]))
                distributions[key] = IntDistribution(0, len(one.values) - 1)
        study.add_trial(
            create_trial(params=parameters, distributions=distributions, value=trial.value)
        )
    return study
