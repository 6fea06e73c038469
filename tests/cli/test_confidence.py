"""What `evaluate`, `train` and `runs show` print of calibration and confidence."""

import click
import numpy as np
import pytest

from cifarnet import evaluation
from cifarnet.cli import evaluation_table
from cifarnet.cli.render import calibration_rows
from cifarnet.runs import Evaluation, RunRecord
from cifarnet.runs.confidence import TemperatureScaling
from cifarnet.runs.records import TemperatureRecord

SCALING = TemperatureScaling(
    temperature=0.5149,
    at_bound=False,
    images=5000,
    digest="",
    calibrated_error=0.0115,
    calibrated_error_interval=[0.0067, 0.0141],
    calibrated_loss=0.2351,
)
RECORD = TemperatureRecord(
    temperature=0.05,
    at_bound=True,
    images=5000,
    loss_before=0.4,
    loss=0.2,
    calibration_error_before=0.1873,
    calibration_error=0.0104,
    decisions_changed=0,
)


@pytest.fixture
def found() -> Evaluation:
    rows = np.float32([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2], [0.55, 0.45]])
    return evaluation.compute_metrics(rows, np.array([0, 0, 1, 0, 1]), ("a", "b"))


def shown(found: Evaluation, capsys) -> list[str]:
    with click.Context(click.Command("evaluate")):
        evaluation_table.show(found)
    return capsys.readouterr().out.splitlines()


def test_an_evaluation_shows_what_confidence_is_worth(found, capsys):
    full = found.replace(temperature=SCALING, advice="do this")
    lines = shown(full, capsys)
    assert "if calibrated        1.15 %  (95 % interval 0.67 % to 1.41 %)" in lines
    fitted = "loss 0.2351 nats; temperature 0.515 of 5,000 validation images"
    assert f"{'':21}{fitted}" in lines
    assert "to calibrate         do this" in lines
    # The one error is the least confident decision: risks 0, 0, 0, 0, 1/5.
    (surest,) = (line for line in lines if line.startswith("most confident 80 %"))
    assert surest.startswith("most confident 80 %  100.00 %  (95 % interval ")
    assert any(line.startswith("risk-coverage        area 0.0400  (95 %") for line in lines)
    assert any(line.startswith("finding errors       AUROC 1.0000") for line in lines)


def test_what_was_not_measured_is_not_shown(found, capsys):
    older = found.replace(selective=None, expected_calibration_error_interval=None)
    lines = shown(older, capsys)
    absent = (
        "if calibrated",
        "to calibrate",
        "most confident 80",
        "risk-coverage",
        "finding errors",
    )
    assert not [line for line in lines if line.startswith(absent)]
    assert any(line.startswith("calibration error") and "interval" not in line for line in lines)


def test_a_calibrated_run_shows_its_temperature():
    text = "0.050 (the bound): calibration error 18.73 % -> 1.04 % on 5,000 validation images"
    assert calibration_rows(RunRecord(calibration=RECORD)) == [("temperature", text)]
    assert calibration_rows(RunRecord()) == []
