"""A small synthetic bucket with the real layout and known truth.

`write_demo` writes a folder that looks like ``s3://laion-fmri`` to a reader, with the same keys, label grammar and
traps. It is the oracle for the rest of the package and shares no code with it: keys are spelled out again, and files
are written only with nibabel's headers, gzip and NumPy.

How a beta is made
    Every image drives every ROI by an amount drawn from a standard normal distribution, which depends on the image and
    the ROI alone, so that shared images drive all subjects equally. A voxel's signal is the sum of its ROIs' drives
    divided by the square root of their number; noise is drawn for every trial. With ``share``, the part of the variance
    that is signal::

        beta = unit * (gain * (mean + sqrt(share) * signal + sqrt(1 - share) * noise) + offset)

    ``unit``, ``mean`` and ``share`` belong to the voxel, ``gain`` and ``offset`` to the session, so that pooling
    sessions without z-scoring is visibly wrong.

How a noise ceiling is made
    ``NC = 100 * ncsnr**2 / (ncsnr**2 + mean(1 / n))`` in percent, ``ncsnr = sqrt(signal / noise)``, after Allen et al.
    (2022), https://doi.org/10.1038/s41593-021-00962-x. Betas are z-scored per voxel within each session (ddof=0),
    ``noise`` is the mean over images of the variance over an image's repetitions (ddof=1), ``signal`` is
    ``max(0, 1 - noise)``, and ``n`` counts the image's rows in the trial tables. NaN trials are left out of means and
    variances; an always-NaN voxel has a NaN ceiling, a voxel outside the brain has 0. The formula uses the stored
    values. The ``session`` scale is streamed, so that its betas are never in memory together: its maps follow from the
    known ``share``, and those of the subject assume that all planned sessions exist.

How a split is made
    ``derivatives/splits/<pool>/<name>.json`` has the published names, pools and schema, for the demo's own images. The
    pool ``shared`` has the planned images of all subjects without OOD, that of a subject these and its own images.
    ``random_*`` and ``tau`` each draw a fifth of the pool for testing; ``cluster_k5_*`` divide the pool into five
    groups of different sizes and test on one of them; ``ood`` tests on all OOD images and trains on the pool. All
    splits are random, including ``tau`` and the groups. Labels are sorted. As in the published files, the text ``pool``
    counts participants by their codes ("sub-04" for sub-03): only the folder has the right name.
"""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from intake_laion_fmri.demo.anatomy import write_anatomy, write_freesurfer_images
from intake_laion_fmri.demo.betas import write_session, write_subject_maps
from intake_laion_fmri.demo.bold import write_bold
from intake_laion_fmri.demo.descriptions import write_descriptions
from intake_laion_fmri.demo.events import write_events
from intake_laion_fmri.demo.files import as_json, write
from intake_laion_fmri.demo.localizers import write_localizers
from intake_laion_fmri.demo.rois import write_rois
from intake_laion_fmri.demo.scale import Scale, as_scale
from intake_laion_fmri.demo.splits import write_splits
from intake_laion_fmri.demo.stimuli import write_stimuli
from intake_laion_fmri.demo.surfaces import write_surfaces
from intake_laion_fmri.demo.trials import planned_images
from intake_laion_fmri.demo.truth import PARTICIPANT, subject_truth
from intake_laion_fmri.remote.atomic import create, files_below, put_in_place, remove_known, remove_tree, write_whole
from intake_laion_fmri.remote.locks import locked
from intake_laion_fmri.remote.marks import DEMO, raise_unless_ours

FORMAT_VERSION = 5
"""Incremented whenever equal scale and seed give different bytes, so that older buckets are replaced."""

_GENERATOR = "intake_laion_fmri.demo"
_DESCRIPTION = "dataset_description.json"
_HELD_OUT = "held out: must never be read\n"
"""Content of a held-out session's files: neither a table, JSON nor a gzip stream, so that every reader fails."""
_WAIT_SECONDS = 300.0
"""Time to wait for another process that writes the same bucket."""


def write_demo(
    path: str | os.PathLike[str],
    *,
    scale: str | Scale = "small",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic bucket with the real layout, byte for byte reproducible.

    Everything is written to a sibling folder ``.<name>.partial``, which is moved to `path` at the end, so that `path`
    is never incomplete. If `path` already is the same bucket, nothing is written. Only one process writes at a time.

    Parameters
    ----------
    path : str or path
        Folder of the bucket. Missing parents are created. A demo bucket of another scale or seed is replaced, unless
        one of its files was added or changed.
    scale : str or Scale, default "small"
        A name in `SCALES`, or a `Scale`. ``tiny`` takes a second and 2 MB, ``small`` a few seconds and 45 MB,
        ``session`` one to two minutes and 1.1 GB, with less than 300 MB of memory.
    seed : int, default 0
        A non-negative integer.
    progress : callable, optional
        Called as ``progress(done, total)`` with the number of written beta volumes, from 0 to the total.

    Returns
    -------
    Path
        The absolute path of the bucket.

    Raises
    ------
    ValueError
        If `scale` is unknown, or `seed` is negative.
    FileExistsError
        If `path` is a file, or a folder with anything but an unchanged demo bucket; or if the sibling folder exists
        and was not written by this function.
    OSError
        If the folder cannot be written to.
    """
    scale = as_scale(scale)
    if seed < 0:
        raise ValueError(f"seed={seed!r} is negative: expected an integer from 0.")
    target = Path(path).resolve()
    recipe = {"Name": _GENERATOR, "Version": str(FORMAT_VERSION), "Seed": int(seed), "Scale": asdict(scale)}
    recipe = dict(json.loads(json.dumps(recipe)))  # all that determines the bytes, as read back from JSON
    if _is_complete(target, recipe):
        return target
    partial = target.with_name(f".{target.name}.partial")
    with locked(partial.with_suffix(".lock"), wait_seconds=_WAIT_SECONDS, what=f"writing {target}"):
        if _is_complete(target, recipe):  # written meanwhile by another process
            return target
        raise_unless_ours(partial, DEMO)
        remove_tree(partial)  # left by a killed process
        create(partial / _DESCRIPTION, _description(recipe, {}))  # marks the folder as ours from the start
        try:
            _write_bucket(partial, scale, seed, progress)
            _write_root(partial, recipe)
        except BaseException:  # also after an interrupt: half a session is a hidden gigabyte
            remove_tree(partial)
            raise
        # An interrupt must leave either the old bucket or the new one complete.
        known = _sums_recorded(target)
        replaced = put_in_place(partial, target)
        if replaced is not None:
            remove_known(replaced, {*known, _DESCRIPTION}.__contains__)
    return target


def remove_demo(path: str | os.PathLike[str]) -> None:
    """Remove a demo bucket, if there is one.

    Parameters
    ----------
    path : str or path
        Folder of the bucket.

    Raises
    ------
    FileExistsError
        If the folder is not a demo bucket, or one of its files was added or changed. Nothing is removed then.
    """
    target = Path(path).resolve()
    if target.exists():
        _raise_unless_untouched(target)
        remove_known(target, {*_sums_recorded(target), _DESCRIPTION}.__contains__)


# --- checks of the folder


def _is_complete(target: Path, recipe: dict[str, Any]) -> bool:
    """Return True if `target` is this bucket; raise unless it is replaceable."""
    if not target.exists() or (target.is_dir() and not os.listdir(target)):
        return False
    raise_unless_ours(target, DEMO)
    recorded = _recorded(target)
    sums = recorded.pop("Files", None)
    if recorded == recipe and isinstance(sums, dict) and all((target / name).is_file() for name in sums):
        return True
    _raise_unless_untouched(target)
    return False


def _raise_unless_untouched(target: Path) -> None:
    """Raise unless a folder is a demo bucket with unchanged files."""
    raise_unless_ours(target, DEMO)
    sums, found = _sums_recorded(target), _sums(target)
    own = found.pop(_DESCRIPTION, None)
    recorded = {name: value for name, value in _recorded(target).items() if name != "Files"}
    others = sorted(name for name, value in found.items() if sums.get(name) != value)
    if own != _sum(_description(recorded, sums)):
        others.append(_DESCRIPTION)
    if others:
        raise FileExistsError(
            f"{target} is another demo bucket, in which {len(others)} files were added or changed, such as "
            f"{others[0]}. Choose another path, or delete the folder yourself."
        )


def _recorded(target: Path) -> dict[str, Any]:
    """Return the recipe and checksums recorded in a demo bucket."""
    return dict(json.loads((target / _DESCRIPTION).read_text(encoding="utf-8"))["GeneratedBy"][0])


def _sums_recorded(target: Path) -> dict[str, str]:
    """Return the recorded checksums of a demo bucket; empty for anything else."""
    sums = _recorded(target).get("Files") if DEMO.is_on(target) else None
    return sums if isinstance(sums, dict) else {}


def _sums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file and link below a folder."""
    found = {}
    for name in files_below(folder):
        path = folder / name
        found[name] = _sum_of(path) if path.is_file() and not path.is_symlink() else ""
    return found


def _sum_of(path: Path) -> str:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1024 * 1024):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def _sum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def _write_bucket(root: Path, scale: Scale, seed: int, progress: Callable[[int, int], None] | None) -> None:
    n_trials = scale.n_trials or sum(planned_images(scale, PARTICIPANT[scale.subjects[0]]).values()) - 1
    total, done = n_trials * len(scale.subjects), 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress(done, total)

    advance(0)
    for subject in scale.subjects:
        truth = subject_truth(subject, scale=scale, seed=seed)
        write_anatomy(root / "derivatives/anatomical" / subject / "ses-PrismaAnat/anat", truth, seed)
        write_freesurfer_images(root / "derivatives/freesurfer" / subject / "mri", truth, seed)
        write_surfaces(root / "derivatives/freesurfer" / subject, truth)
        write_rois(root / "derivatives/rois" / subject, truth)
        write_localizers(root / "derivatives/localizers", truth, seed)
        write_events(root, truth)
        write_bold(root, truth, scale.sessions[0], seed)
        glm = root / "derivatives/glmsingle-tedana" / subject
        kept = [write_session(glm / s / "func", truth, s, scale, seed, advance) for s in scale.sessions]
        write_subject_maps(glm, truth, scale, np.concatenate(kept))
        for session in scale.held_out:
            for like in (glm / scale.sessions[0] / "func").iterdir():
                write(glm / session / "func" / like.name.replace(scale.sessions[0], session), _HELD_OUT)
            hidden = root / subject / session / "func" / f"{subject}_{session}_task-images_run-01_events.tsv"
            write(hidden, _HELD_OUT)
    write_splits(root / "derivatives/splits", scale, seed)
    write_stimuli(root / "stimuli", scale, seed)
    write_descriptions(root, scale, seed)


def _write_root(root: Path, recipe: dict[str, Any]) -> None:
    text = f"""\
SYNTHETIC DATA. This is not LAION-fMRI data.

This folder has the layout and the file names of the LAION-fMRI bucket (s3://laion-fmri), and computer-generated
numbers in its files: betas, masks, noise ceilings, anatomy and ROIs are made up. Labels follow the data set's grammar,
and some are names of its real images, so that published splits select trials; no brain responded to them here. The
splits in derivatives/splits are made up too, with the names and the schema of the published ones. The images in
stimuli are chessboards: they need no agreement, other than those of the data set.
It was written by {_GENERATOR}, for tests, examples and benchmarks: nothing in it says anything about a brain.
"""
    write(root / "README", text)
    people = [f"{subject}\t{24 + int(subject[-2:])}\tn/a" for subject in recipe["Scale"]["subjects"]]
    write(root / "participants.tsv", "\n".join(["participant_id\tage\tsex", *people]) + "\n")
    descriptions = {"participant_id": "Synthetic participant", "age": "Years, made up", "sex": "Not made up"}
    write(root / "participants.json", {name: {"Description": text} for name, text in descriptions.items()})
    sums = _sums(root)
    del sums[_DESCRIPTION]
    write_whole(root / _DESCRIPTION, _description(recipe, sums))


def _description(recipe: dict[str, Any], sums: dict[str, str]) -> bytes:
    """Return the description file, with the checksums that detect changed files."""
    description = {
        "Name": "Synthetic demo bucket with the layout of LAION-fMRI",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "License": "CC0-1.0",
        "GeneratedBy": [recipe | {"Files": sums}],
    }
    return as_json(description)
