"""The command line: parse, delegate, print. The library works without it."""

import click

from cifarnet.cli.audit import audit
from cifarnet.cli.benchmark import benchmark
from cifarnet.cli.command import Group
from cifarnet.cli.compare import compare
from cifarnet.cli.config import config
from cifarnet.cli.data import data
from cifarnet.cli.evaluate import evaluate
from cifarnet.cli.explain import explain
from cifarnet.cli.export import export
from cifarnet.cli.predict import predict
from cifarnet.cli.report import report
from cifarnet.cli.runs import runs
from cifarnet.cli.serve import serve
from cifarnet.cli.sweep import sweep
from cifarnet.cli.train import train


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cifarnet")
def main() -> None:
    """Train, evaluate and export CIFAR-10 image classifiers from YAML configs.

    \b
    Example:
      cifarnet train --config article
      cifarnet evaluate latest
    """


for _command in (train, evaluate, compare, predict, explain, report, export, benchmark, serve):
    main.add_command(_command)
for _group in (sweep, runs, data, config):
    main.add_command(_group)
data.add_command(audit)
