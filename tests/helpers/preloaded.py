"""What the process that tests fork loads once: libraries, and the synthetic dataset."""

import importlib

from cifarnet import config, data

for name in ("cli", "benchmarking", "evaluation", "exporters"):
    importlib.import_module(f"cifarnet.{name}")
for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
    importlib.import_module(name)
data.load(config.DataConfig(source="synthetic"), 0)
