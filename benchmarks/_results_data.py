"""The input of `results.py`: a bucket of 30 full-size sessions, and a store of the whole brain of all of them."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

from _measure import Figures
from _store_contenders import BENCH, SESSIONS, prepare, write_bucket
from open_subject import planned_labels, trial_table
from read_session import SUBJECT

from intake_laion_fmri import layout

__all__ = ["BUCKET", "FOUR", "ROI", "STORE", "write_results_bucket", "write_results_store"]

BUCKET = BENCH / "results-bucket"
STORE = BENCH / "results-store"
FOUR = SESSIONS[12:16]
"""They show 792 images, 12 times or 4, nearly in the proportion of the whole plan."""

ROI = "hV4"

_WINDOW = 4
"""Sessions within which an image has all its repetitions."""


def write_results_bucket(session_bucket: str, bucket: str) -> Figures:
    """Make a bucket of 30 sessions of one, whose images have all their repetitions within four sessions.

    So four sessions show 700 to 1,000 images, each 4 or 12 times, as the planned images of a subject are shown.
    """
    target = Path(bucket)
    partial = target.with_name(f"{target.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_bucket(session_bucket, os.fspath(partial))
    tables = {session: partial / layout.key("trials", subject=SUBJECT, session=session) for session in SESSIONS}
    n_trials = len(tables[SESSIONS[0]].read_text(encoding="utf-8").splitlines()) - 1
    labels = [label for label, times in Counter(planned_labels()).items() for _ in range(times)]
    for first in range(0, len(SESSIONS), _WINDOW):
        window = SESSIONS[first : first + _WINDOW]
        shown = [labels.pop() for _ in range(n_trials * len(window))]
        random.Random(first).shuffle(shown)
        for session in window:
            own = [shown.pop() for _ in range(n_trials)]
            tables[session].write_text(trial_table(session, own), encoding="utf-8")
    partial.rename(target)
    return {}


def write_results_store(bucket: str, store: str) -> Figures:
    """Build what a store of all sessions lacks; their betas are one file's, and shared by hard links.

    Four sessions get betas of their own, and so do the objects with the ROI's voxels in all sessions: who
    reads these must not find them in the processor's cache because another session was read before.
    """
    prepare(bucket, store, linked=True)
    for session in SESSIONS:
        objects = Path(store, SUBJECT, session, "betas")
        for key in sorted(_objects(store) if session not in FOUR else map(str, objects.glob("c/0/*"))):
            _copy(objects / key)
    os.sync()
    return {}


def _objects(store: str) -> set[str]:
    """Return the keys of the objects that hold the ROI's voxels, below an array of betas."""
    from intake_laion_fmri import open_betas
    from intake_laion_fmri.reading.blocks import StoreBlock

    betas = open_betas(SUBJECT, session=SESSIONS[0], roi=ROI, store=store)["betas"].data
    tasks = [task for task in dict(betas.dask).values() if isinstance(task, tuple)]
    return {part.key for task in tasks for block in task if isinstance(block, StoreBlock) for part in block.parts}


def _copy(path: Path) -> None:
    """Give a name a file of its own."""
    if path.stat().st_nlink > 1:
        own = path.with_name(f".{path.name}")
        shutil.copyfile(path, own)
        own.replace(path)
