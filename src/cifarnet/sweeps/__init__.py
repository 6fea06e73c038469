"""Sweeps: many trainings of one config with different values, on Optuna.

A sweep has a folder, `sweeps/<name>` in the folder of runs, with the run directories of its trials.
Which trial is next, its storage says: a journal file in that folder, or a database.
"""

from cifarnet.sweeps.check import SweepCheck, check_sweep
from cifarnet.sweeps.promote import promote_trial
from cifarnet.sweeps.results import read_sweep
from cifarnet.sweeps.run import run_sweep

__all__ = ["SweepCheck", "check_sweep", "promote_trial", "read_sweep", "run_sweep"]
