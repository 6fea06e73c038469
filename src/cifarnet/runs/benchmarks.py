"""The record of a benchmark, and its parts."""

from __future__ import annotations

from cifarnet.runs.documents import Count, Number, Part, Record
from cifarnet.runs.records import MachineRecord


class Speed(Part):
    """Latency (ms) of calls with `batch_size` images each, and throughput at the median."""

    batch_size: Count
    calls: Count
    median_milliseconds: Number
    p90_milliseconds: Number
    images_per_second: Number


class BenchmarkedArtifact(Part):
    """What one artifact gives and costs.

    Attributes:
        accuracy: None where the artifact may have been trained on the images.
        agreement: share of images with the same top-1 class as the first artifact's.
        threads: that it may use.
        peak_memory_bytes: of a process that only runs this artifact.
    """

    name: str
    path: str
    bytes: Count
    accuracy: Number | None
    agreement: Number
    runtime: str
    assumed: list[str]
    threads: Count
    peak_memory_bytes: Count
    speed: list[Speed]


class Benchmark(Record):
    """`benchmark.json`: artifacts side by side, on images of one split."""

    machine: MachineRecord
    versions: dict[str, str]
    images: Count
    split: str
    data: str
    changed_data: str = ""
    artifacts: list[BenchmarkedArtifact]
