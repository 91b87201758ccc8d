"""Betas, trial tables and maps of a subject."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intake_laion_fmri.demo.files import gzip_file, nifti_header, write, write_nifti
from intake_laion_fmri.demo.scale import Array, Doubles, Floats, Ints, Scale, generator
from intake_laion_fmri.demo.truth import SubjectTruth

# Traps for readers, never in sub-01: one session stored as scaled int16, and one with runs written as "run-01". The
# scaling factors are powers of two, so that stored values, including 0, read back exactly.
_INT16_SESSION, _RUN_STRING_SESSION = ("sub-03", "ses-02"), ("sub-03", "ses-03")
_SLOPE, _INTER = 2.0**-11, 0.25


def _session_betas(truth: SubjectTruth, session: str, seed: int) -> Iterator[Floats]:
    """Yield the betas of each trial, shape (n_fitted,)."""
    rng = generator(seed, truth.subject, session, "betas")
    n, labels = len(truth.fitted), truth.labels[session]
    pattern, pattern_drives = _pattern_drives(truth)
    gain, offset = np.float32(rng.uniform(0.8, 1.2)), np.float32(rng.uniform(-0.3, 0.3))
    signal_gain, noise_gain = np.sqrt(truth.share), np.sqrt(np.float32(1) - truth.share)
    always = np.isin(truth.fitted, truth.always_nan, assume_unique=True)
    dropouts = {int(row): rng.integers(n, size=3) for row in rng.permutation(len(labels))[:2]}
    for row, label in enumerate(labels):
        noise = rng.standard_normal(n, dtype=np.float32)
        response = truth.mean + signal_gain * pattern_drives[label][pattern] + noise_gain * noise
        betas = truth.unit * (gain * response + offset)
        if (truth.subject, session) != _INT16_SESSION:  # integers have no NaN
            betas[always] = np.nan
            betas[dropouts.get(row, [])] = np.nan
        yield betas


def _pattern_drives(truth: SubjectTruth) -> tuple[npt.NDArray[np.intp], dict[str, Floats]]:
    """Group voxels by their set of ROIs, to speed up trials.

    Returns
    -------
    pattern
        (n_fitted,) number of each voxel's set.
    drives
        Label to the (n_patterns,) signal of each set, of unit variance over images.
    """
    member = np.array([np.isin(truth.fitted, voxels, assume_unique=True) for voxels in truth.rois.values()])
    packed = np.packbits(member, axis=0).T
    _, first, pattern = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    sets = member[:, first]
    sets = np.vstack([sets, ~sets.any(axis=0)])  # the last drive is for voxels in no ROI
    # Not a matrix product: BLAS may vary the order of summation, and equal seeds must give equal bytes.
    drives = np.einsum("ir,rp->ip", np.array(list(truth.drives.values())), sets.astype(float)) / np.sqrt(sets.sum(0))
    return pattern.reshape(-1), dict(zip(truth.drives, drives.astype(np.float32), strict=True))


def _mean_of_finite(values: Doubles) -> Doubles:
    """Average finite values over the first axis; NaN where there are none."""
    n = np.isfinite(values).sum(axis=0)
    return np.asarray(np.divide(np.nansum(values, axis=0), n, out=np.full(n.shape, np.nan), where=n > 0))


def _zscored(betas: Doubles) -> Doubles:
    centred = betas - _mean_of_finite(betas)
    return np.asarray(centred / np.sqrt(_mean_of_finite(centred**2)))


def _ceiling(z: Doubles, labels: Sequence[str], n_wanted: int | None = None) -> Floats:
    """Return noise ceilings from images shown `n_wanted` times, or repeatedly."""
    rows = defaultdict(list)
    for row, label in enumerate(labels):
        rows[label].append(row)
    variances, inverse_n = [], []
    for repeats in (z[found] for found in rows.values() if _is_wanted(len(found), n_wanted)):
        n = np.isfinite(repeats).sum(axis=0)
        squares = np.nansum((repeats - _mean_of_finite(repeats)) ** 2, axis=0)
        variances.append(np.divide(squares, n - 1, out=np.full(n.shape, np.nan), where=n > 1))
        inverse_n.append(1 / len(repeats))
    noise = _mean_of_finite(np.array(variances))
    return _percent(np.maximum(0, 1 - noise), noise, inverse_n)


def _known_ceiling(truth: SubjectTruth, counts: Iterable[int], n_wanted: int | None = None) -> Floats:
    """Compute the ceiling that `_ceiling` estimates from the true signal shares."""
    share = truth.share.astype(np.float64)
    share[np.isin(truth.fitted, truth.always_nan, assume_unique=True)] = np.nan
    return _percent(share, 1 - share, [1 / n for n in counts if _is_wanted(n, n_wanted)])


def _is_wanted(n: int, n_wanted: int | None) -> bool:
    return n > 1 if n_wanted is None else n == n_wanted


def _percent(signal: Doubles, noise: Doubles, inverse_n: list[float]) -> Floats:
    squared = signal / noise
    return np.asarray(100 * squared / (squared + np.mean(inverse_n)), dtype=np.float32)


def write_session(
    folder: Path, truth: SubjectTruth, session: str, scale: Scale, seed: int, advance: Callable[[int], None]
) -> Doubles:
    """Write a session; return its z-scored betas, None if too large."""
    stem, labels, n = f"{truth.subject}_{session}_task-images_", truth.labels[session], len(truth.fitted)
    _write_trials(folder / f"{stem}desc-SingletrialBetas_trials", session, labels, truth.subject)

    held = []
    betas_stem = folder / f"{stem}space-T1w_stat-effect_desc-SingletrialBetas_statmap"
    for stored in _write_betas(betas_stem.with_suffix(".nii.gz"), truth, session, seed):
        if not scale.analytic_ceilings:
            held.append(stored.astype(np.float64))
        advance(1)
    write(betas_stem.with_suffix(".json"), {"Description": "Synthetic single-trial betas", "Units": "arbitrary"})

    z = _zscored(np.array(held)) if held else np.empty((0, n))
    rng = generator(seed, truth.subject, session, "maps")
    maps: dict[str, Array] = {
        "space-T1w_desc-Noiseceiling_statmap": (
            _known_ceiling(truth, Counter(labels).values()) if scale.analytic_ceilings else _ceiling(z, labels)
        ),
        "space-T1w_stat-rsquare_desc-R2_statmap": _session_r2(truth, session),
        "space-T1w_desc-HRFindex_dseg": rng.integers(0, 20, n).astype(np.int16),
        "space-T1w_desc-Fracridge_statmap": rng.uniform(0.05, 1, n).astype(np.float32),
    }
    for name, values in maps.items():
        write_map(folder / f"{stem}{name}.nii.gz", truth, values)
    write(folder / f"{stem}desc-GLMsingle_summary.json", {"Subject": truth.subject, "NumTrials": len(labels)})
    return z


def _write_betas(path: Path, truth: SubjectTruth, session: str, seed: int) -> Iterator[Floats]:
    """Stream volumes to `path`, and yield their values as read back, (n_fitted,)."""
    int16 = (truth.subject, session) == _INT16_SESSION
    slope, inter, dtype = (_SLOPE, _INTER, np.dtype("<i2")) if int16 else (1.0, 0.0, np.dtype("<f4"))
    on_disk = np.ravel_multi_index(np.unravel_index(truth.fitted, truth.shape), truth.shape, order="F")
    volume = np.full(np.prod(truth.shape), -inter / slope).astype(dtype)  # reads back as 0
    with gzip_file(path) as file:
        file.write(nifti_header((*truth.shape, len(truth.labels[session])), dtype, truth.affine, slope, inter))
        for betas in _session_betas(truth, session, seed):
            volume[on_disk] = np.round((betas - inter) / slope) if int16 else betas
            file.write(volume.data)
            yield volume[on_disk].astype(np.float32) * np.float32(slope) + np.float32(inter)


def _session_r2(truth: SubjectTruth, session: str) -> Floats:
    """Return R2 in percent, drifting between sessions.

    Its sign never changes, and therefore neither does the mask.
    """
    return np.asarray(truth.r2 * np.float32(1 + 0.05 * list(truth.labels).index(session)))


def write_subject_maps(glm: Path, truth: SubjectTruth, scale: Scale, z: Doubles) -> None:
    """Write a subject's noise ceilings and mean R2."""
    stem = f"{truth.subject}_task-images_"
    labels = [label for session in scale.sessions for label in truth.labels[session]]
    for name, n_wanted in (("4rep", 4), ("12rep", 12), ("Allrep", None)):
        planned = truth.planned.values()
        ceiling = _known_ceiling(truth, planned, n_wanted) if scale.analytic_ceilings else _ceiling(z, labels, n_wanted)
        write_map(glm / f"{stem}space-T1w_desc-Noiseceiling{name}_statmap.nii.gz", truth, ceiling)
        sources = [f"bids::derivatives/glmsingle-tedana/{truth.subject}/{session}" for session in scale.sessions]
        write(glm / f"{stem}space-T1w_desc-Noiseceiling{name}_statmap.json", {"Units": "percent", "Sources": sources})
    r2 = np.array([_session_r2(truth, session) for session in scale.sessions], dtype=np.float64)
    write_map(glm / f"{stem}space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz", truth, r2.mean(0).astype(np.float32))
    write(glm / f"{stem}desc-GLMsingle_summary.json", {"Subject": truth.subject, "NumTrials": len(labels)})


def _write_trials(stem: Path, session: str, labels: Sequence[str], subject: str) -> None:
    run_format = "run-{:02d}" if (subject, session) == _RUN_STRING_SESSION else "{}"
    lines = ["session\trun\tbeta_index\tlabel"]
    for index, label in enumerate(labels):
        lines.append(f"{session}\t{run_format.format(1 + index * 12 // len(labels))}\t{index}\t{label}")
    write(stem.with_suffix(".tsv"), "\n".join(lines) + "\n")
    described = {"beta_index": "0-based volume of the betas file", "label": "File name of the image that was shown"}
    write(stem.with_suffix(".json"), {name: {"Description": text} for name, text in described.items()})


def on_grid(truth: SubjectTruth, voxels: Ints, values: Any) -> Array:
    """Place values at voxels of a grid of zeros, in their dtype."""
    grid = np.zeros(truth.shape, dtype=values.dtype)
    grid.reshape(-1)[voxels] = values
    return grid


def write_map(path: Path, truth: SubjectTruth, values: Array) -> None:
    """Write values of the fitted voxels as a volume."""
    write_nifti(path, on_grid(truth, truth.fitted, values), truth.affine)
