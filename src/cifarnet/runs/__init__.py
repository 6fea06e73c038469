"""The run directory: where a run keeps its files, and how they are written, checked and found.

Every file is written beside its name and renamed, so a reader sees the old file or the new
one, never a part. Who writes in a run holds its lock. The record `run.json` says how far the
run got, and the SHA-256 of its files; its status is written last.
"""

from cifarnet.runs.arrays import read_arrays, write_arrays
from cifarnet.runs.atomic import (
    beside,
    remove_leftovers,
    replace_folder,
    write_atomic,
    write_json,
    write_text,
)
from cifarnet.runs.audits import Audit
from cifarnet.runs.benchmarks import Benchmark
from cifarnet.runs.checksums import (
    Verdict,
    changing,
    check,
    digest,
    forget,
    is_current,
    verify,
    weights_digest,
)
from cifarnet.runs.directory import Run, create, is_locked, lock, remove, root_folder, status
from cifarnet.runs.documents import CostRecord
from cifarnet.runs.find import (
    RunSummary,
    all_runs,
    export_files,
    export_label,
    exports,
    open_run,
    run_of,
    summary,
)
from cifarnet.runs.history import read_history
from cifarnet.runs.images import UNUSED, ImageRow, has_images, images_csv, read_images
from cifarnet.runs.records import RunRecord
from cifarnet.runs.results import Evaluation, Export
from cifarnet.runs.robustness import Robustness

__all__ = [
    "UNUSED",
    "Audit",
    "Benchmark",
    "CostRecord",
    "Evaluation",
    "Export",
    "ImageRow",
    "Robustness",
    "Run",
    "RunRecord",
    "RunSummary",
    "Verdict",
    "all_runs",
    "beside",
    "changing",
    "check",
    "create",
    "digest",
    "export_files",
    "export_label",
    "exports",
    "forget",
    "has_images",
    "images_csv",
    "is_current",
    "is_locked",
    "lock",
    "open_run",
    "read_arrays",
    "read_history",
    "read_images",
    "remove",
    "remove_leftovers",
    "replace_folder",
    "root_folder",
    "run_of",
    "status",
    "summary",
    "verify",
    "weights_digest",
    "write_arrays",
    "write_atomic",
    "write_json",
    "write_text",
]
