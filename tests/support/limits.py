"""Reads files in processes of their own, and tells what that costs: time, memory, and how it ends.

Run as a script, this imports everything once and forks a process for each reading, so that the most memory that one
had is its own. Everything ends by itself: a reading by an alarm, or where it asks for more memory than there is to be.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Reading", "read_all"]

SECONDS = 120
"""After so long a reading counts as one that hangs, on however busy a machine."""

ADDRESS_SPACE = 4 * 1024**3
"""Bytes that a reading may add to what is mapped; more is a MemoryError."""


@dataclass(frozen=True)
class Reading:
    """What became of a reading."""

    seconds: float
    """Of the processor: a busy machine makes no difference."""
    peak: int
    """Bytes of memory that it had in use beyond those at its start, at most."""
    classes: tuple[str, ...]
    """What it raised: the class and those above; empty where it gave a result, ``("hang",)`` where it was ended."""
    text: str
    """The message, or the result in words."""


def read_all(calls: Sequence[tuple[str, dict[str, Any]]], *, folder: Path) -> list[Reading]:
    """Read files by the functions below, one after the other.

    Parameters
    ----------
    calls : sequence of (str, dict)
        Name of the function, and its arguments; these must fit into JSON.
    folder : path
        For a file with the calls.
    """
    asked = folder / "calls.json"
    asked.write_text(json.dumps(calls))
    users = {"LAION_FMRI_BUCKET", "LAION_FMRI_MIRROR", "LAION_FMRI_SPLITS"}
    environment = {name: value for name, value in os.environ.items() if name not in users}
    done = subprocess.run(
        [sys.executable, __file__, str(asked)],
        env=environment | {"OPENBLAS_NUM_THREADS": "1", "LAION_FMRI_CACHE": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS * (1 + len(calls)),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(calls), done.stderr
    return [Reading(one["seconds"], one["peak"], tuple(one["classes"]), one["text"]) for one in answers]


# --- in the process of its own ----------------------------------------------------------------------------------------


def betas(**given: Any) -> Any:
    from intake_laion_fmri import open_betas

    return dict(open_betas(**given).compute(scheduler="synchronous").sizes)


def trials(**given: Any) -> Any:
    from intake_laion_fmri import open_trials

    return open_trials(**given).shape


def rois(**given: Any) -> Any:
    from intake_laion_fmri import open_rois

    return dict(open_rois(**given).sizes)


def maps(**given: Any) -> Any:
    from intake_laion_fmri.betas import open_maps

    return dict(open_maps(**given).compute(scheduler="synchronous").sizes)


def split(**given: Any) -> Any:
    from intake_laion_fmri.splits import load_split

    return load_split(**given).n_train


def inventory(folder: str) -> Any:
    from intake_laion_fmri.catalog.inventory import read_inventory

    return len(read_inventory(Path(folder)).subjects)


def func_gii(path: str) -> Any:
    from intake_laion_fmri.formats.gifti import read_func_gii

    return len(read_func_gii(Path(path).read_bytes(), name=path))


def label(path: str) -> Any:
    from intake_laion_fmri.formats.freesurfer import read_label

    return len(read_label(Path(path).read_bytes(), name=path).vertices)


def table(path: str) -> Any:
    from intake_laion_fmri.axes.trial_table import read_trials

    return len(read_trials(Path(path).read_bytes(), name=path, session="ses-01"))


def volume(path: str) -> Any:
    """Read what a file says of itself, as far as that goes: there is nothing to compare it with."""
    from intake_laion_fmri.formats.nifti import VolumeReader

    with open(path, "rb") as file:
        reader = VolumeReader(file, name=path)
        return len(reader.where(lambda values: values > 0))


READ = {one.__name__: one for one in (betas, trials, rois, maps, split, inventory, func_gii, label, table, volume)}

LOADED = (
    "dask.array",
    "intake_laion_fmri.reading.betas",
    "intake_laion_fmri.catalog.files",
    "isal.igzip",
    "nibabel",
    "pandas",
    "xarray",
    "xml.etree.ElementTree",
)


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    for name, given in json.loads(Path(sys.argv[1]).read_text()):
        out, into = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(out)
                os.write(into, json.dumps(_measured(name, given)).encode())
            finally:
                os._exit(0)
        os.close(into)
        started = time.perf_counter()
        with os.fdopen(out, "rb") as answers:
            answer = answers.read()
        _, status = os.waitpid(child, 0)
        if not answer:
            how = "hang" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else "killed"
            found = {"seconds": time.perf_counter() - started, "peak": 0, "classes": [how], "text": str(status)}
            answer = json.dumps(found).encode()
        print(answer.decode(), flush=True)


def _measured(name: str, given: dict[str, Any]) -> dict[str, Any]:
    signal.alarm(SECONDS)  # whose default is to end the process, wherever it is
    mapped, resident = (
        int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2]
    )
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE, mapped + ADDRESS_SPACE))
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            text, classes = str(READ[name](**given)), []
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
        text, classes = str(error)[:5000], [one.__name__ for one in type(error).__mro__[:-1]]
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
    return {"seconds": seconds, "peak": peak, "classes": classes, "text": text}


if __name__ == "__main__":
    main()
