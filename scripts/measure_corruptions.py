"""Measure how long the corruptions of `evaluate --robustness` take, in processor seconds.

Corrupts test images of CIFAR-10 in parts of 200, as the command does, and prints the seconds for
10,000 images at all five severities. Loading libraries is not counted.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from cifarnet import config, data
from cifarnet.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt

PART = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000, help="measured, of 10,000")
    count = parser.parse_args().images
    pixels = data.load(config.DataConfig(), 0).test.pixels[:count]
    total = 0.0
    for name in CORRUPTIONS:
        corrupt(pixels[:1], name, 5, np.arange(1))
        start = time.process_time()
        for severity in SEVERITIES:
            for first in range(0, count, PART):
                part = pixels[first : first + PART]
                corrupt(part, name, severity, np.arange(first, first + len(part)))
        seconds = (time.process_time() - start) * 10_000 / count
        total += seconds
        print(f"{name:18} {seconds:6.1f} s", flush=True)
    print(f"{'together':18} {total:6.1f} s")


if __name__ == "__main__":
    main()
