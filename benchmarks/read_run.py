"""Reads one full-size run of BOLD, whole brain and one ROI's worth of voxels, against unpacking its file.

    python benchmarks/read_run.py [--rounds 7]

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

from _measure import (
    MB,
    Contender,
    Figures,
    Target,
    alternate,
    become_contender,
    environment,
    imports,
    markdown,
    ratio,
    run,
    spread,
    targets,
    typical,
    warm_up,
)
from read_session import best_buffer, floor

from intake_laion_fmri import layout

BUCKET = Path(__file__).parents[1] / ".bench" / "run"
SUBJECT, SESSION = "sub-01", "ses-01"
BOLD = layout.key("bold", subject=SUBJECT, session=SESSION, run="01")
SHAPE, RADII, VOLUMES = (143, 143, 143), (40, 49, 34), 310
ROI_VOXELS = 500


def write_run(bucket: str) -> Figures:
    """Write a run of float32 volumes, noise inside an ellipsoid, and the map that tells the voxels."""
    import numpy as np
    from isal import igzip

    from intake_laion_fmri.demo.files import nifti_header, write

    affine = np.diag([-1.778, 1.778, 1.778, 1.0])
    axes = [(np.arange(n) - (n - 1) / 2) / radius for n, radius in zip(SHAPE, RADII, strict=True)]
    level = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    inside = np.flatnonzero(np.ravel(level, order="F") < 1)
    volume = np.zeros(np.prod(SHAPE), dtype="<f4")
    rng = np.random.default_rng(0)
    mean = rng.normal(1000, 200, len(inside)).astype("<f4")
    for kind, n_volumes in (("r2_mean", 1), ("bold", VOLUMES)):
        path = Path(bucket) / layout.key(kind, subject=SUBJECT, session=SESSION, run="01")
        path.parent.mkdir(parents=True, exist_ok=True)
        with igzip.open(path, "wb", compresslevel=2) as file:
            shape = SHAPE if n_volumes == 1 else (*SHAPE, n_volumes)
            file.write(nifti_header(shape, np.dtype("<f4"), affine, step=1.0))
            for _ in range(n_volumes):
                volume[inside] = mean + 20 * rng.standard_normal(len(inside), dtype="f4")
                file.write(volume.tobytes())
        write(path.with_name(path.name.replace(".nii.gz", ".json")), {"RepetitionTime": 1.0})
    return {}


def package(bucket: str, n_voxels: int | None = None) -> Figures:
    """Open a run and load it: all its voxels, or some in the middle of the brain."""
    warnings.filterwarnings("ignore", "Left out: in_roi")
    imports(store=True)  # with what Dask imports when it first computes
    import dask

    from intake_laion_fmri import open_bold
    from intake_laion_fmri.reading.lazy_arrays import load_each

    dask.config.set(scheduler="synchronous")  # a run is one task; in this thread, whose processor time is known
    start = time.perf_counter()
    dataset = open_bold(SUBJECT, session=SESSION, bucket=bucket)
    opened, used, of_all = time.perf_counter(), time.thread_time(), time.process_time()
    if n_voxels is None:
        (values,) = load_each([dataset["bold"].data])
    else:
        ((read, block, _),) = (task for task in dict(dataset["bold"].data.dask).values() if isinstance(task, tuple))
        first = dataset.sizes["voxel"] // 2
        values = read(block, dataset["voxel"].to_numpy()[first : first + n_voxels])
    end = time.perf_counter()
    return {
        "open": opened - start,
        "job": end - opened,
        "all": end - start,
        "thread": time.thread_time() - used,
        "threads": time.process_time() - of_all,
        "result": values.nbytes,
        "volumes": len(values),
        "voxels": values.shape[1],
    }


CONTENDERS = {function.__name__: function for function in (write_run, floor, best_buffer, imports, package)}


def main() -> None:
    """Measure and print."""
    if become_contender(CONTENDERS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender (default: %(default)s)")
    options = parser.parse_args()
    bucket, path = os.fspath(BUCKET), BUCKET / BOLD
    if not path.exists():
        run(__file__, Contender("write_run", {"bucket": bucket}))
    warm_up(path)
    machine = environment("numpy", "isal", "dask", "xarray")
    buffer = int(run(__file__, Contender("best_buffer", {"path": os.fspath(path)}))["buffer"])
    results = alternate(
        __file__,
        {
            "floor": Contender("floor", {"path": os.fspath(path), "buffer": buffer}),
            "whole brain": Contender("package", {"bucket": bucket}),
            "some voxels": Contender("package", {"bucket": bucket, "n_voxels": ROI_VOXELS}),
        },
        options.rounds,
    )
    floors, whole, some = results.values()
    print(
        f"\n{machine}\nRun: {path.stat().st_size / MB:.0f} MB packed, {whole[0]['volumes']:.0f} volumes of "
        f"{whole[0]['voxels']:.0f} voxels; some: {ROI_VOXELS}. {options.rounds} rounds.\n"
    )
    print(_table(results), end="\n\n")
    print(
        targets(
            [
                Target("whole brain / floor", ratio(whole, floors, "job"), 1.1),
                Target("whole brain / floor, CPU of the thread that unpacks", ratio(whole, floors, "thread"), 1.1),
                Target("some voxels / floor", ratio(some, floors, "job"), 1.1),
            ]
        )
    )


def _table(results: Mapping[str, list[Figures]]) -> str:
    rows = []
    for label, runs in results.items():
        ours = "open" in runs[0]
        rows.append(
            [
                label,
                f"{typical(runs, 'open'):.2f}" if ours else "",
                spread(runs, "job"),
                f"{ratio(runs, results['floor'], 'job'):.2f}",
                f"{ratio(runs, results['floor'], 'all', 'job'):.2f}" if ours else "",
                f"{ratio(runs, results['floor'], 'thread'):.2f}",
                f"{ratio(runs, results['floor'], 'threads', 'thread'):.2f}" if ours else "",
            ]
        )
    head = ["contender", "open s", "read s: median (range)", "read / floor", "open + read / floor"]
    head += ["CPU of one thread / floor", "CPU of all / floor"]
    return markdown(head, rows)


if __name__ == "__main__":
    main()
