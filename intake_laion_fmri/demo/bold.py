"""Time series of a few runs: preprocessed on the betas' grid, and raw echoes.

How a value is made
    ``100 + seed % 97 + (31 * voxel) % 97 + 10 * volume + run + 1000 * (echo - 1)``, where ``voxel`` is the index in C
    order; phases are negative. Preprocessed series are 0 outside the fitted voxels. Runs have a few volumes instead of
    hundreds. The single-band reference of an echo is its first volume; in some subjects its name lacks ``part-``.
"""

from pathlib import Path
from typing import Any

import numpy as np

from intake_laion_fmri.demo.files import gzip_file, nifti_header, write
from intake_laion_fmri.demo.scale import Array, Doubles, Ints
from intake_laion_fmri.demo.truth import SubjectTruth

_RUNS = {1: 6, 2: 5}
_RAW_SHAPE, _RAW_VOLUMES = (9, 11, 7), 4
_ECHO_SECONDS = (0.013, 0.031, 0.049)
_PREPROCESSED_TR, _RAW_TR = 1.0, 1.9


def write_bold(root: Path, truth: SubjectTruth, session: str, seed: int) -> None:
    """Write time series of one session, preprocessed and raw."""
    stem = f"{truth.subject}_{session}_task-images_run-"
    folder = root / "derivatives/tedana" / truth.subject / session / "func"
    for run, n_volumes in _RUNS.items():
        volumes = np.zeros((n_volumes, *truth.shape), dtype="<i2")
        volumes.reshape(n_volumes, -1)[:, truth.fitted] = _values(truth.fitted, n_volumes, run) + seed % 97
        name = f"{stem}{run:02d}_space-T1w_desc-optcom_bold"
        _write(folder / name, volumes, truth.affine, _PREPROCESSED_TR, {"SkullStripped": False})
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) + np.array([[0, 0.25, 0, -8], [-0.25, 0, 0, -9], [0, 0, 0, 5], [0, 0, 0, 0]])
    folder = root / truth.subject / session / "func"
    for echo, seconds in enumerate(_ECHO_SECONDS, start=1):
        flat = _values(np.arange(np.prod(_RAW_SHAPE)), _RAW_VOLUMES, 1) + seed % 97 + 1000 * (echo - 1)
        values = flat.reshape(_RAW_VOLUMES, *_RAW_SHAPE)
        for part, sign in (("mag", 1), ("phase", -1)):
            sidecar = {"EchoTime": seconds}
            _write(folder / f"{stem}01_echo-{echo}_part-{part}_bold", sign * values, affine, _RAW_TR, sidecar)
        part = "" if truth.subject == "sub-01" else "_part-mag"
        _write(folder / f"{stem}01_echo-{echo}{part}_sbref", values[:1], affine, _RAW_TR, {"EchoTime": seconds})


def _values(voxels: Ints, n_volumes: int, run: int) -> Ints:
    """Return a run's first echo for seed 0, (n_volumes, n_voxels)."""
    return np.asarray(100 + (31 * voxels) % 97 + run + 10 * np.arange(n_volumes)[:, None], dtype=np.int64)


def _write(stem: Path, volumes: Array, affine: Doubles, tr: float, sidecar: dict[str, Any]) -> None:
    shape = volumes.shape[1:] if len(volumes) == 1 else (*volumes.shape[1:], len(volumes))
    with gzip_file(stem.with_name(f"{stem.name}.nii.gz")) as file:
        file.write(nifti_header(shape, np.dtype("<i2"), affine, step=tr))
        for volume in volumes:
            file.write(volume.astype("<i2").tobytes(order="F"))
    write(stem.with_name(f"{stem.name}.json"), {"RepetitionTime": tr, "TaskName": "images", **sidecar})
