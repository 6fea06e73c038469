"""Try many inputs from outside on every parser, and say how many were refused and how long it took.

    python scripts/fuzz.py --cases 100000

Only a `CifarnetError` may leave a parser, none may take 2 s, and the process must stay below 1 GB.
The input of a fault is kept in tests/corpus/, where the tests try it again.
"""

import argparse
import hashlib
import random
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from cifarnet import system

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from helpers import fuzzing

# Share of the cases of each parser, by how much it can be given and how long a case takes.
WEIGHTS = {"image": 20, "archive": 15, "batch": 15, "config": 10, "override": 15, "checkpoint": 10}
SLOWEST, MOST_MEMORY = 2.0, 1_000_000_000
AT_ONCE = 1_000  # hypothesis holds on to every case of a run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000, help="in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    print(f"{'parser':<12} {'cases':>8} {'accepted':>9} {'refused':>8} {'slowest':>9} {'peak':>9}")
    weights = {name: WEIGHTS.get(name, 5) for name in fuzzing.TARGETS}
    good = True
    for name, weight in weights.items():
        count = options.cases * weight // sum(weights.values())
        good &= fuzz(name, count, options.seed)
    sys.exit(0 if good else 1)


def fuzz(name: str, count: int, seed: int) -> bool:
    """Try `count` inputs on one parser; whether all was well."""
    target = fuzzing.TARGETS[name]
    results: list[bool] = []
    slowest, last = 0.0, b""
    with tempfile.TemporaryDirectory() as folder:

        def check(content: bytes) -> None:
            nonlocal slowest, last
            last = content
            start = time.process_time()
            results.append(target.check(content, Path(folder)))
            slowest = max(slowest, time.process_time() - start)
            assert slowest < SLOWEST, f"{slowest:.1f} s"

        fault = None
        try:
            for done in range(0, count, AT_ONCE):
                options = settings(
                    max_examples=min(AT_ONCE, count - done),
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                seeded(seed + done)(options(given(target.cases())(check)))()  # type: ignore[no-untyped-call]
        except BaseException as error:  # whatever it is, it is what is looked for
            fault = error
    peak = system.peak_memory()
    print(
        f"{name:<12} {len(results):>8,} {sum(results):>9,} {len(results) - sum(results):>8,} "
        f"{slowest:>7.2f} s {peak / 1e6:>6.0f} MB",
        flush=True,
    )
    if fault is not None:
        kept = fuzzing.CORPUS / name / f"{hashlib.sha256(last).hexdigest()[:16]}.bin"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(last)
        print(f"  {type(fault).__name__}: {str(fault)[:500]}\n  input kept as {kept}")
    return fault is None and peak < MOST_MEMORY


if __name__ == "__main__":
    main()
