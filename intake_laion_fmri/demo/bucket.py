"""A small synthetic bucket with the real layout and known truth.

`write_demo` makes a folder that looks like ``s3://laion-fmri`` to a reader: the same keys, label grammar and traps. It
is the oracle of the rest of the package and shares no code with it: key names are spelled out here a second time, and
files are written with nibabel's headers, gzip and numpy alone.

How a beta is made
    Every image drives every ROI by its own amount: a standard normal draw for the image and the ROI alone, so shared
    images drive all subjects alike. A voxel's signal is the sum of its ROIs' drives over the root of their number;
    noise is new in every trial. With ``share``, the part of the variance that is signal::

        beta = unit * (gain * (mean + sqrt(share) * signal + sqrt(1 - share) * noise) + offset)

    ``unit``, ``mean`` and ``share`` belong to the voxel, ``gain`` and ``offset`` to the session: pooling sessions
    without z-scoring is visibly wrong.

How a noise ceiling is made
    ``NC = 100 * ncsnr**2 / (ncsnr**2 + mean(1 / n))`` in percent, ``ncsnr = sqrt(signal / noise)``, after Allen et al.
    (2022), https://doi.org/10.1038/s41593-021-00962-x. Betas are z-scored per voxel within each session (ddof=0),
    ``noise`` is the mean over images of the variance over an image's repetitions (ddof=1), ``signal`` is
    ``max(0, 1 - noise)``, and ``n`` counts the image's rows in the trial tables. NaN trials are left out of means and
    variances; an always-NaN voxel has a NaN ceiling, a voxel outside the brain has 0. The values used are those stored.
    The ``session`` scale is streamed and never holds its betas: its maps are what the known ``share`` implies, the
    subject's maps as if all planned sessions were there.

How a split is made
    ``derivatives/splits/<pool>/<name>.json`` has the published names, pools and schema, for the demo's own images: the
    pool ``shared`` is the planned images of all subjects without OOD, a subject's pool these and the subject's own.
    ``random_*`` and ``tau`` draw a fifth of the pool for testing, each anew; ``cluster_k5_*`` deal the pool to five
    groups of different sizes and test on one of them; ``ood`` tests on all OOD images and trains on the pool. All are
    drawn by chance, ``tau`` and the groups too. Sides are sorted. As in the published files, the text ``pool`` counts
    participants by their codes (that of sub-03 says "sub-04"): only the folder names the pool.
"""

import gzip
import json
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

import nibabel
import numpy as np
import numpy.typing as npt

from intake_laion_fmri.remote.atomic import create, open_new, put_in_place, remove_known, remove_tree, write_whole
from intake_laion_fmri.remote.locks import locked
from intake_laion_fmri.remote.marks import DEMO, raise_unless_ours

__all__ = ["SCALES", "Scale", "SubjectTruth", "remove_demo", "subject_truth", "write_demo"]

Array: TypeAlias = npt.NDArray[Any]
Bools: TypeAlias = npt.NDArray[np.bool_]
Doubles: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]

FORMAT_VERSION = 3
"""Raised whenever the same scale and seed would give other bytes: an older bucket is then replaced."""

_GENERATOR = "intake_laion_fmri.demo"
_DESCRIPTION = "dataset_description.json"
_WAIT_SECONDS = 300.0
"""How long to wait for another process that writes the same."""
_VOXEL_MM = 1.778
_FULL_BRAIN = 272_080  # voxels in sub-01's R2 mask; the sizes in _ROIS are for this brain
_HEMISPHERE_CENTRE, _HEMISPHERE_RADII = (0.31, 0.02, 0.10), (0.42, 0.84, 0.62)

_FIVE = ("sub-01", "sub-03", "sub-05", "sub-06", "sub-07")
_PARTICIPANT = {"sub-01": "p01", "sub-06": "p02", "sub-05": "p03", "sub-03": "p04", "sub-07": "p05"}  # not in order

# Left for readers to stumble on, never in sub-01: one session stored as scaled int16, and one whose runs are written
# "run-01". The scaling consists of powers of two, so that stored values, 0 among them, read back exactly.
_INT16_SESSION, _RUN_STRING_SESSION = ("sub-03", "ses-02"), ("sub-03", "ses-03")
_SLOPE, _INTER = 2.0**-11, 0.25

# category, name, centre in brain units (distance from the midline, front, up), voxels in a full-size brain.
# Within a category ROIs claim voxels in this order and do not overlap; across categories they do.
_ROIS: tuple[tuple[str, str, tuple[float, float, float], int], ...] = (
    ("retinotopy", "V1v", (0.10, -0.70, -0.02), 650),
    ("retinotopy", "V1d", (0.10, -0.70, 0.14), 650),
    ("retinotopy", "V2v", (0.16, -0.64, -0.12), 652),
    ("retinotopy", "V2d", (0.18, -0.64, 0.24), 653),
    ("retinotopy", "V3v", (0.24, -0.58, -0.18), 508),
    ("retinotopy", "V3d", (0.26, -0.56, 0.32), 508),
    ("retinotopy", "hV4", (0.34, -0.50, -0.26), 372),
    ("retinotopy", "VO1", (0.24, -0.40, -0.30), 180),
    ("retinotopy", "VO2", (0.24, -0.30, -0.32), 160),
    ("retinotopy", "LO1", (0.46, -0.50, 0.00), 260),
    ("retinotopy", "LO2", (0.52, -0.42, -0.04), 260),
    ("retinotopy", "TO1", (0.56, -0.34, 0.02), 180),
    ("retinotopy", "TO2", (0.58, -0.26, 0.00), 180),
    ("retinotopy", "V3A", (0.26, -0.46, 0.46), 280),
    ("retinotopy", "V3B", (0.34, -0.44, 0.38), 200),
    ("retinotopy", "IPS0", (0.26, -0.34, 0.54), 260),
    ("retinotopy", "IPCS", (0.42, 0.22, 0.42), 140),
    ("retinotopy", "SPCS", (0.26, 0.20, 0.58), 140),
    ("retinotopy", "EVC", (0.10, -0.70, 0.06), 0),
    ("body", "EBA", (0.56, -0.36, 0.08), 700),
    ("body", "FBA", (0.36, -0.28, -0.34), 250),
    ("character", "VWFA1", (0.42, -0.34, -0.30), 120),
    ("character", "VWFA2", (0.44, -0.22, -0.30), 120),
    ("character", "mfswords", (0.40, -0.28, -0.32), 100),
    ("character", "pSTSwords", (0.56, -0.20, 0.12), 150),
    ("face", "FFA1", (0.38, -0.34, -0.34), 160),
    ("face", "FFA2", (0.38, -0.22, -0.36), 140),
    ("face", "OFA", (0.46, -0.52, -0.18), 180),
    ("face", "pSTSfaces", (0.56, -0.22, 0.16), 200),
    ("face", "AFP1", (0.38, -0.02, -0.34), 90),
    ("face", "AFP2", (0.36, 0.10, -0.30), 80),
    ("motion", "MT", (0.54, -0.34, 0.04), 200),
    ("motion", "MST", (0.56, -0.28, 0.08), 120),
    ("object", "lobjects", (0.50, -0.44, -0.04), 800),
    ("object", "vobjects", (0.34, -0.34, -0.32), 700),
    ("place", "MPA", (0.10, -0.42, 0.12), 250),
    ("place", "OPA", (0.36, -0.48, 0.34), 250),
    ("place", "PPA", (0.22, -0.28, -0.28), 350),
    ("place", "SPL", (0.22, -0.30, 0.60), 200),
    ("laion", "laionEVC", (0.10, -0.70, 0.06), 0),
    ("laion", "laiondorsal", (0.28, -0.40, 0.48), 2000),
    ("laion", "laionlateral", (0.54, -0.36, 0.04), 1800),
    ("laion", "laionventral", (0.36, -0.26, -0.32), 3401),  # IT; the early areas join by the union below
    ("laion", "laiongeneral", (0.36, -0.26, -0.32), 0),
)
_V1_TO_V3 = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d")
_UNIONS = {
    "EVC": _V1_TO_V3,
    "laionEVC": _V1_TO_V3,
    "laionventral": (*_V1_TO_V3, "hV4"),
    "laiongeneral": ("laionEVC", "laiondorsal", "laionlateral", "laionventral"),
}
_CATEGORY = {name: category for category, name, _, _ in _ROIS}
_ABSENT = {
    "sub-01": {"AFP1", "AFP2", "SPL", "EVC"},
    "sub-03": {"pSTSwords"},
    "sub-05": {"SPL", "IPCS", "SPCS"},
    "sub-06": {"AFP2", "EVC", "MST"},
    "sub-07": {"SPL", "EVC", "VWFA2"},
}
_HYPHENATED_KEYS = (
    *("FFA-1", "FFA-2", "AFP-1", "AFP-2", "pSTS-faces", "pSTS-words"),
    *("mfs-words", "VWFA-1", "VWFA-2", "laion-dorsal", "laion-ventral"),
)
_HYPHENATED = {key.replace("-", ""): key for key in _HYPHENATED_KEYS}
_CLEAN_KEYS = ("sub-06",)  # no hyphens in this subject: a name resolves to a key by listing, not by a rule
_OFF_MASK_ROI = "OPA"  # reaches out of the R2 mask, so that readers must intersect
_OTHER_GRID_ROIS = ("V1v", "FFA1", "PPA")  # also written at 1.5 mm: readers must not take these
_FLOAT_CATEGORIES = ("laion", "face")  # volumes stored as float32; the others are uint8

_SPLIT_METHODS = (
    *((f"random_{k}", {"method": "uniform_random", "draw": k}) for k in range(5)),
    *((f"cluster_k5_{k}", {"method": "random_groups_k5_holdout", "held_out_cluster": k}) for k in range(5)),
    ("tau", {"method": "uniform_random"}),
    ("ood", {"method": "ood_dataset_holdout"}),
)
_TEST_PART = 0.2
_GROUP_PARTS = (0.30, 0.24, 0.19, 0.15, 0.12)

# Stems of published image ids, so that the published splits select trials here too; made-up ones follow where more are
# needed. Per participant: unique LAION, THINGS+ and THINGS.
_LAION = "1003_i0 1006_i0 1011_i2 1015_i1 1018_i2 1020_i0 1021_i2 1027_i1 1030_i2 1034_i0 1037_i1 1053_i2"
_THINGS_PLUS = "0_balloon 109_pencil 100_poinsettia 110_arrow 102_magnifying_glass 104_pepper2 111_camera2"
_NSD = "100 113 102 118 133 14 141 148"
_UNIQUE = {
    "p01": ("0_i0 1001_i17 1002_i3 1003_i0 1006_i38 1008_i2", "aardvark air album altar ankle", "apple acorn aloe"),
    "p02": ("0_i2 1001_i42 1002_i4 1003_i32 1006_i2 1008_i19", "abacus airbag alligator anklet", "applesauce altar"),
    "p03": ("0_i3 1001_i3 1002_i11 1003_i21 1006_i32 1008_i31", "accordion airboat almond ant", "artichoke balloon"),
    "p04": ("0_i4 1001_i46 1002_i1 1003_i16 1006_i23 1008_i5", "acorn aircraft aloe ambulance", "ashtray airplane"),
    "p05": ("0_i1 1001_i2 1002_i48 1003_i5 1006_i24 1008_i47", "air airplane alpaca anchor", "asparagus alligator"),
}
_OOD = (
    "shape_blob_round-01.png",
    "relations_007_saucer-ontop-cup_04.jpg",
    "unusual_Screenshot 2024-05-06 at 14.45.09.jpg",
    "cropped_hot-air_balloon.png",
    "selfmade_01.jpg",
    "gaudy_gaudy-altar.jpg",
    "illusion-classic_classic-illusion-01-asahi.png",
    "gabor_gabor-01-top-left.jpg",
    "illusion-natural_cup-glitch.jpg",
    "unusual_https___www.example.com_img%20a.jpg",  # made up: a decoder of URLs would break the join
    "unusual_https_www.anothermag.com_design-living_2732_weird-and-wonderful-fruit-and-vegetables .jpg",
    "shape_blob_round-02.png",
    "relations_010_potato-under-spoon_01.jpg",
    "cropped_air_pump.png",
    "gabor_gabor-02-top-right.jpg",
    "illusion-classic_classic-illusion-02-chubb.png",
)


@dataclass(frozen=True)
class Scale:
    """How large a demo bucket is."""

    subjects: tuple[str, ...]
    """Subjects written, among the five real ones."""
    sessions: tuple[str, ...]
    """Public sessions of every subject."""
    shape: tuple[int, int, int]
    """Shape of the voxel grid; voxels are 1.778 mm wide at every scale."""
    n_voxels: int
    """Voxels in the first subject's R2 mask; each later subject has 11 fewer than the one before."""
    n_vertices: tuple[int, int]
    """Surface vertices of the left and the right hemisphere."""
    shared_12rep: tuple[int, int]
    """Shared images shown 12 times, from LAION and THINGS+."""
    shared_4rep: tuple[int, int]
    """Shared images shown 4 times, from NSD and OOD. From 9 OOD images on, every OOD type occurs."""
    unique_4rep: tuple[int, int, int]
    """Images shown 4 times to one subject, from LAION, THINGS+ and THINGS."""
    n_trials: int | None = None
    """Trials of the only session, the first of a longer plan; None spreads the whole plan over the sessions."""
    analytic_ceilings: bool = False
    """Write the noise ceilings that the known signal and noise imply, so that no betas need to be held."""
    held_out: tuple[str, ...] = ("ses-31",)
    """Sessions whose keys exist and whose content must never be read."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.subjects) - set(_FIVE)):
            raise ValueError(f"subjects {unknown} do not exist: choose among {', '.join(_FIVE)}")
        if self.shared_4rep[1] > len(_OOD):
            raise ValueError(f"{self.shared_4rep[1]} OOD images asked for: at most {len(_OOD)} have names")
        if self.n_trials is not None and len(self.sessions) != 1:
            raise ValueError(f"n_trials={self.n_trials} is for one session: {len(self.sessions)} given")


_THREE = ("ses-01", "ses-02", "ses-03")
SCALES: dict[str, Scale] = {
    "tiny": Scale(_FIVE[:2], _THREE, (13, 15, 11), 360, (642, 650), (3, 2), (3, 11), (3, 1, 1)),
    "small": Scale(_FIVE, _THREE, (34, 40, 30), 4500, (642, 650), (8, 4), (6, 14), (24, 8, 4)),
    "session": Scale(
        subjects=("sub-01",),
        sessions=("ses-01",),
        shape=(143, 143, 143),
        n_voxels=_FULL_BRAIN,
        n_vertices=(2562, 2600),
        shared_12rep=(180, 60),
        shared_4rep=(60, 16),
        unique_4rep=(1100, 75, 36),
        n_trials=1044,
        analytic_ceilings=True,
    ),
}
"""``tiny`` for tests (1 MB), ``small`` for looking at (35 MB), ``session`` for benchmarks (1.1 GB, streamed)."""


@dataclass(frozen=True, eq=False)
class SubjectTruth:
    """What is behind a subject's files. Voxel sets are ascending C-order flat indices into the grid."""

    subject: str
    """For example ``"sub-01"``."""
    shape: tuple[int, int, int]
    """Shape of the grid."""
    affine: Doubles
    """(4, 4) grid indices to millimetres; exact in float32, so that files hold these very numbers."""
    rsquare: Ints
    """Voxels with finite R2mean > 0."""
    fitted: Ints
    """Voxels that have betas: `rsquare` and a few with R2mean <= 0 or NaN."""
    anatomical: Ints
    """The anatomical brain mask: `fitted` and a rim where betas are 0."""
    r2: Floats
    """(n_fitted,) R2 in percent, around which the sessions' maps drift."""
    always_nan: Ints
    """Voxels whose betas are NaN in every trial, but for the int16 session, which cannot hold NaN."""
    rois: dict[str, Ints]
    """Public ROI name to voxels, before any intersection with a mask."""
    surface_rois: dict[str, dict[str, Ints]]
    """Hemisphere (``"L"``, ``"R"``) to public ROI name to vertices."""
    vertices: dict[str, Doubles]
    """Hemisphere to (n, 3) vertex positions in millimetres."""
    planned: dict[str, int]
    """Label to its planned number of repetitions; one image of the subject is shown once less."""
    labels: dict[str, tuple[str, ...]]
    """Public session to the labels of its trials, in order."""
    drives: dict[str, Doubles]
    """Label to (n_rois + 1,) drives of the ROIs in the order of `rois` and, last, of the voxels in none."""
    share: Floats
    """(n_fitted,) part of the single-trial variance that is signal."""
    mean: Floats
    """(n_fitted,) mean response, in the voxel's unit."""
    unit: Floats
    """(n_fitted,) unit of the betas: those of different voxels are not comparable."""


def write_demo(
    path: str | os.PathLike[str],
    *,
    scale: str | Scale = "small",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic bucket with the real layout; the same arguments give the same bytes.

    Everything is written to a sibling folder ``.<name>.partial`` and moved to `path` at the end, so `path` never holds
    half a bucket. Where `path` already is this very bucket, nothing is written. One process writes at a time.

    Parameters
    ----------
    path
        Folder of the bucket. Missing parents are made. A demo bucket of another scale or seed is replaced, unless
        a file in it was added or changed.
    scale
        A name in `SCALES`, or a `Scale`. ``tiny`` takes under a second and 1 MB, ``small`` a few seconds and 35 MB,
        ``session`` one to two minutes and 1.1 GB, in less than 300 MB of memory.
    seed
        Any integer from 0 on.
    progress
        Called as ``progress(done, total)`` with the number of beta volumes written, from 0 to the total.

    Returns
    -------
    Path
        `path`, absolute.

    Raises
    ------
    ValueError
        `scale` is no known name, or `seed` is negative.
    FileExistsError
        `path` is a file, or a folder that holds something else than a demo bucket, or something besides one; or the
        sibling folder is there and not from here.
    OSError
        The folder cannot be written.
    """
    scale = _as_scale(scale)
    if seed < 0:
        raise ValueError(f"seed {seed!r} is negative: give an integer from 0 on")
    target = Path(path).resolve()
    recipe = _recipe(scale, seed)
    if _is_complete(target, recipe):
        return target
    partial = target.with_name(f".{target.name}.partial")
    with locked(partial.with_suffix(".lock"), wait_seconds=_WAIT_SECONDS, what=f"writing {target}"):
        if _is_complete(target, recipe):  # by whoever was waited for
            return target
        raise_unless_ours(partial, DEMO)
        remove_tree(partial)  # of a process that was killed
        create(partial / _DESCRIPTION, _description(recipe, {}))  # tells from the start whose folder this is
        try:
            _write_bucket(partial, scale, seed, progress)
            _write_root(partial, recipe)
        except BaseException:  # an interrupt too: half a session is a gigabyte that nobody would look for
            remove_tree(partial)
            raise
        # An interrupt must find the old bucket whole, or the new one.
        known = _sums_recorded(target)
        replaced = put_in_place(partial, target)
        if replaced is not None:
            remove_known(replaced, {*known, _DESCRIPTION}.__contains__)
    return target


def remove_demo(path: str | os.PathLike[str]) -> None:
    """Remove a demo bucket; one that is not there is no error.

    Parameters
    ----------
    path
        Its folder.

    Raises
    ------
    FileExistsError
        It is no demo bucket, or a file in it was added or changed: nothing is removed then.
    """
    target = Path(path).resolve()
    if target.exists():
        _raise_unless_untouched(target)
        remove_known(target, {*_sums_recorded(target), _DESCRIPTION}.__contains__)


def subject_truth(subject: str, *, scale: str | Scale = "small", seed: int = 0) -> SubjectTruth:
    """Return what `write_demo` writes about a subject: voxel sets, trial labels, and what drives the betas.

    Parameters
    ----------
    subject
        A subject of the scale.
    scale, seed
        As given to `write_demo`.

    Raises
    ------
    ValueError
        The scale has no such subject, or `scale` is no known name.
    """
    scale = _as_scale(scale)
    if subject not in scale.subjects:
        raise ValueError(f"subject {subject!r} is not in this scale: it has {', '.join(scale.subjects)}")
    n_rsquare = scale.n_voxels - 11 * scale.subjects.index(subject)
    n_odd = max(6, n_rsquare // 500)
    level = _brain_level(scale.shape, seed, subject)
    inside_out = np.argsort(level, axis=None, kind="stable")
    fitted = np.sort(inside_out[: n_rsquare + n_odd])
    anatomical = np.sort(inside_out[: round(1.15 * len(fitted))])
    edge = float(level.flat[inside_out[len(fitted)]])
    del level, inside_out

    rng = _rng(seed, subject, "voxels")
    odd = rng.permutation(len(fitted))[:n_odd]  # in the brain, and yet not in the R2 mask
    rsquare = np.delete(fitted, odd)
    centres = {name: np.array(centre) + rng.normal(0, 0.02, 3) for _, name, centre, _ in _ROIS}
    rois = _volume_rois(scale, edge, rsquare, anatomical, centres)
    rois = {name: voxels for name, voxels in rois.items() if name not in _ABSENT[subject]}
    share = _signal_share(fitted, rois, seed)
    share[odd] = 0
    r2 = 4 + 90 * share * rng.uniform(0.5, 1, len(fitted))
    r2[odd] = -rng.uniform(0, 3, n_odd)
    r2[odd[1]] = 0  # the rule's border
    r2[odd[::3]] = np.nan
    in_rois = np.intersect1d(np.concatenate(list(rois.values())), rsquare)
    always_nan = np.union1d(rng.choice(in_rois, max(3, n_rsquare // 2000), replace=False), fitted[odd[::3]])

    planned = _planned_images(scale, _PARTICIPANT[subject])
    columns = [*(k for k, row in enumerate(_ROIS) if row[1] in rois), -1]
    surfaces = {hemi: _surface_points(n) for hemi, n in zip("LR", scale.n_vertices, strict=True)}
    surface_rois = {
        hemi: _nearest_rois(points, centres, (2 * len(points) / _FULL_BRAIN) ** 0.6, hemi)
        for hemi, points in surfaces.items()
    }
    half_mm = np.array(scale.shape) * _VOXEL_MM * edge / 2
    return SubjectTruth(
        subject=subject,
        shape=scale.shape,
        affine=_affine(scale.shape, subject),
        rsquare=rsquare,
        fitted=fitted,
        anatomical=anatomical,
        r2=r2.astype(np.float32),
        always_nan=always_nan,
        rois=rois,
        surface_rois={hemi: {name: found[name] for name in rois} for hemi, found in surface_rois.items()},
        vertices={hemi: xyz * half_mm * [-1 if hemi == "L" else 1, 1, 1] for hemi, xyz in surfaces.items()},
        planned=planned,
        labels=_session_labels(scale, seed, subject, planned),
        drives={label: _rng(seed, "drives", label).standard_normal(len(_ROIS) + 1)[columns] for label in planned},
        share=share,
        mean=(0.3 + share + 0.2 * rng.standard_normal(len(fitted))).astype(np.float32),
        unit=rng.uniform(0.6, 1.6, len(fitted)).astype(np.float32),
    )


# --- The place where it is written


def _as_scale(scale: str | Scale) -> Scale:
    if isinstance(scale, Scale):
        return scale
    if scale in SCALES:
        return SCALES[scale]
    nearest = get_close_matches(str(scale), SCALES, n=1, cutoff=0)[0]
    raise ValueError(f"unknown scale {scale!r}: expected one of {', '.join(SCALES)}; did you mean {nearest!r}?")


def _recipe(scale: Scale, seed: int) -> dict[str, Any]:
    """Everything the bytes depend on, as JSON gives it back."""
    recipe = {"Name": _GENERATOR, "Version": str(FORMAT_VERSION), "Seed": int(seed), "Scale": asdict(scale)}
    return dict(json.loads(json.dumps(recipe)))


def _is_complete(target: Path, recipe: dict[str, Any]) -> bool:
    """Tell whether `target` is this bucket; raise where it is something that must not be replaced."""
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
    """Raise where a demo bucket is none, or a file in it is not as it was written."""
    raise_unless_ours(target, DEMO)
    sums, found = _sums_recorded(target), _sums(target)
    own = found.pop(_DESCRIPTION, None)
    recorded = {name: value for name, value in _recorded(target).items() if name != "Files"}
    others = sorted(name for name, value in found.items() if sums.get(name) != value)
    if own != _sum(_description(recorded, sums)):
        others.append(_DESCRIPTION)
    if others:
        raise FileExistsError(
            f"{target} is a demo bucket made otherwise, with {len(others)} files in it that are not as the demo writes "
            f"them, such as {others[0]}: give another path, or delete it yourself"
        )


def _recorded(target: Path) -> dict[str, Any]:
    """Return what a demo bucket says of its making."""
    return dict(json.loads((target / _DESCRIPTION).read_text(encoding="utf-8"))["GeneratedBy"][0])


def _sums_recorded(target: Path) -> dict[str, str]:
    """Return the files that a demo bucket was written with, and their checksums; none of anything else."""
    sums = _recorded(target).get("Files") if DEMO.is_on(target) else None
    return sums if isinstance(sums, dict) else {}


def _sums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file and link below a folder."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in [*files, *(one for one in folders if os.path.islink(os.path.join(parent, one)))]:
            path = Path(parent, name)
            regular = path.is_file() and not path.is_symlink()
            found[path.relative_to(folder).as_posix()] = _sum_of(path) if regular else ""
    return found


def _sum_of(path: Path) -> str:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1024 * 1024):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def _sum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def _rng(seed: int, *names: str) -> np.random.Generator:
    """Return the generator for one purpose, whatever else is drawn and in which order."""
    words = [seed, *(zlib.crc32(name.encode()) for name in names)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


# --- Anatomy and ROIs


def _ellipsoid(shape: tuple[int, int, int], centre: Sequence[float], radii: Sequence[float], fold: int = 1) -> Doubles:
    """Return a (shape) map of the distance from the centre, 1 on the surface; `fold=2` makes it two mirrored ones."""
    u, v, w = np.ix_(*((np.arange(n) - (n - 1) / 2) / (n / 2) for n in shape))
    if fold == 2:
        u = np.abs(u)
    (a, b, c), (ra, rb, rc) = centre, radii
    return np.asarray(np.sqrt(((u - a) / ra) ** 2 + ((v - b) / rb) ** 2 + ((w - c) / rc) ** 2))


def _brain_level(shape: tuple[int, int, int], seed: int, subject: str) -> Doubles:
    """Return a (shape) map that grows from the depth of two hemispheres and a cerebellum outwards, slightly folded."""
    level = _ellipsoid(shape, _HEMISPHERE_CENTRE, _HEMISPHERE_RADII, fold=2)
    np.minimum(level, _ellipsoid(shape, (0, -0.50, -0.50), (0.48, 0.34, 0.28)), out=level)
    phases = _rng(seed, subject, "folds").uniform(0, 2 * np.pi, 3)
    waves = (np.sin(14 * np.linspace(-1, 1, n) + phase) for n, phase in zip(shape, phases, strict=True))
    u, v, w = np.ix_(*waves)
    level += 0.07 * (u * v * w)
    return level


def _affine(shape: tuple[int, int, int], subject: str) -> Doubles:
    """Voxels to millimetres: i runs to the left, the head is tilted, subjects lie a little apart."""
    (cx, cy, cz), (sx, sy, sz) = (f(np.deg2rad([7.0, -4.0, 9.0])) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x @ np.diag([-_VOXEL_MM, _VOXEL_MM, _VOXEL_MM])
    affine[:3, 3] = 0.37 * int(subject[-2:]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine.astype(np.float32).astype(np.float64)


def _nearest_rois(points: Doubles, centres: dict[str, Doubles], size: float, hemi: str) -> dict[str, Ints]:
    """Draw every ROI of one hemisphere: the (n, 3) `points` nearest to its centre, and the ROIs it is a union of."""
    taken: dict[str, Bools] = defaultdict(lambda: np.zeros(len(points), dtype=bool))
    found: dict[str, Bools] = {}
    for category, name, _, n_full in _ROIS:
        members = np.zeros(len(points), dtype=bool)
        for part in _UNIONS.get(name, ()):
            members |= found[part]
        n_both = max(4, round(n_full * size)) if n_full else 0
        distance = np.square(points - centres[name]).sum(axis=1)
        distance[taken[category] | members] = np.inf
        blob = np.argsort(distance, kind="stable")[: (n_both + (hemi == "L")) // 2]
        taken[category][blob] = True
        members[blob] = True
        found[name] = members
    return {name: np.flatnonzero(members) for name, members in found.items()}


def _volume_rois(
    scale: Scale, edge: float, rsquare: Ints, anatomical: Ints, centres: dict[str, Doubles]
) -> dict[str, Ints]:
    def brain_units(voxels: Ints) -> Doubles:
        ijk, shape = np.stack(np.unravel_index(voxels, scale.shape), axis=1), np.array(scale.shape)
        return np.asarray((ijk - (shape - 1) / 2) / (shape / 2 * edge))

    points = brain_units(rsquare)
    left = points[:, 0] >= 0
    size = (scale.n_voxels / _FULL_BRAIN) ** 0.6  # ROIs of a small brain are relatively larger: none shall vanish
    rois: dict[str, Ints] = {name: np.empty(0, dtype=np.int64) for name in centres}
    for hemi, half in (("L", left), ("R", ~left)):
        for name, found in _nearest_rois(points[half] * [1 if hemi == "L" else -1, 1, 1], centres, size, hemi).items():
            rois[name] = np.union1d(rois[name], rsquare[half][found])
    outside = np.setdiff1d(anatomical, rsquare)
    distance = np.square(brain_units(outside) - centres[_OFF_MASK_ROI]).sum(axis=1)
    rois[_OFF_MASK_ROI] = np.union1d(rois[_OFF_MASK_ROI], outside[np.argsort(distance, kind="stable")[:4]])
    return rois


def _surface_points(n: int) -> Doubles:
    """Return `n` points spread evenly (a Fibonacci lattice) over one hemisphere, (n, 3) in brain units."""
    k = np.arange(n) + 0.5
    height, turn = 1 - 2 * k / n, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - height**2)
    sphere = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
    return np.asarray(_HEMISPHERE_CENTRE + sphere * _HEMISPHERE_RADII)


def _signal_share(fitted: Ints, rois: dict[str, Ints], seed: int) -> Floats:
    """Return the mean over a voxel's ROIs of each ROI's own reliability; 3 % where there is none."""
    reliability = dict(zip(_CATEGORY, _rng(seed, "reliability").uniform(0.10, 0.45, len(_ROIS)), strict=True))
    total, count = np.zeros(len(fitted)), np.zeros(len(fitted))
    for name, voxels in rois.items():
        inside = np.isin(fitted, voxels, assume_unique=True)
        total[inside] += reliability[name]
        count[inside] += 1
    return np.where(count > 0, total / np.maximum(count, 1), 0.03).astype(np.float32)


# --- Trials


def _planned_images(scale: Scale, participant: str) -> dict[str, int]:
    """Return the label of every image the subject is to see, with its number of repetitions."""

    def stems(published: str, n: int, pattern: str) -> list[str]:
        known = published.split()
        return [*known, *(pattern.format(9000 + k) for k in range(n - len(known)))][:n]

    n_laion, n_things_plus = scale.shared_12rep
    n_nsd, n_ood = scale.shared_4rep
    laion, things_plus, things = _UNIQUE[participant]
    n_unique_laion, n_unique_things_plus, n_unique_things = scale.unique_4rep
    twelve = [
        *(f"shared_12rep_LAION_cluster_{s}.jpg" for s in stems(_LAION, n_laion, "{}_i1")),
        *(f"shared_12rep_THINGS+_kmeans_{s}.jpg" for s in stems(_THINGS_PLUS, n_things_plus, "{}_hot-air_balloon")),
    ]
    four = [
        *(f"shared_4rep_NSD_special1000_{s}.jpg" for s in stems(_NSD, n_nsd, "{}")),
        *(f"shared_4rep_OOD_{name}" for name in _OOD[:n_ood]),
        *(f"unique_LAION_fillup_cluster_{s}_{participant}.jpg" for s in stems(laion, n_unique_laion, "{}_i7")),
        *(f"unique_THINGS+_{s}_{participant}.jpg" for s in stems(things_plus, n_unique_things_plus, "object{}")),
        *(f"unique_THINGS_{s}_{participant}.jpg" for s in stems(things, n_unique_things, "object{}")),
    ]
    return dict.fromkeys(twelve, 12) | dict.fromkeys(four, 4)


def _session_labels(scale: Scale, seed: int, subject: str, planned: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Shuffle all repetitions of all images, one of them missing, and cut them into sessions of different lengths."""
    rng = _rng(seed, subject, "trials")
    trials = [label for label, n in planned.items() for _ in range(n)]
    trials.remove(rng.choice([label for label, n in planned.items() if n == 4]))
    trials = [trials[k] for k in rng.permutation(len(trials))]
    if scale.n_trials is not None:
        return {scale.sessions[0]: tuple(trials[: scale.n_trials])}
    lengths = np.linspace(0.9, 1.1, len(scale.sessions))
    ends = [round(part * len(trials)) for part in np.cumsum(lengths) / lengths.sum()]
    return {s: tuple(trials[a:b]) for s, a, b in zip(scale.sessions, [0, *ends[:-1]], ends, strict=True)}


# --- Betas and noise ceilings


def _session_betas(truth: SubjectTruth, session: str, seed: int) -> Iterator[Floats]:
    """Yield the (n_fitted,) betas of one trial after the other."""
    rng = _rng(seed, truth.subject, session, "betas")
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
    """Group voxels by the exact set of ROIs they are in: a trial's signal is then one small gather.

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
    sets = np.vstack([sets, ~sets.any(axis=0)])  # the last drive moves the voxels that are in no ROI
    # Not a matrix product: BLAS may sum in another order on another day, and the same seed gives the same bytes.
    drives = np.einsum("ir,rp->ip", np.array(list(truth.drives.values())), sets.astype(float)) / np.sqrt(sets.sum(0))
    return pattern.reshape(-1), dict(zip(truth.drives, drives.astype(np.float32), strict=True))


def _mean_of_finite(values: Doubles) -> Doubles:
    """Mean over the first axis; NaN, without a warning, where nothing is finite."""
    n = np.isfinite(values).sum(axis=0)
    return np.asarray(np.divide(np.nansum(values, axis=0), n, out=np.full(n.shape, np.nan), where=n > 0))


def _zscored(betas: Doubles) -> Doubles:
    centred = betas - _mean_of_finite(betas)
    return np.asarray(centred / np.sqrt(_mean_of_finite(centred**2)))


def _ceiling(z: Doubles, labels: Sequence[str], n_wanted: int | None = None) -> Floats:
    """Return the (n_voxels,) noise ceiling of images shown `n_wanted` times, or of all that were repeated."""
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
    """Return what `_ceiling` estimates from images shown `counts` times."""
    share = truth.share.astype(np.float64)
    share[np.isin(truth.fitted, truth.always_nan, assume_unique=True)] = np.nan
    return _percent(share, 1 - share, [1 / n for n in counts if _is_wanted(n, n_wanted)])


def _is_wanted(n: int, n_wanted: int | None) -> bool:
    return n > 1 if n_wanted is None else n == n_wanted


def _percent(signal: Doubles, noise: Doubles, inverse_n: list[float]) -> Floats:
    squared = signal / noise
    return np.asarray(100 * squared / (squared + np.mean(inverse_n)), dtype=np.float32)


# --- Files


def _write_bucket(root: Path, scale: Scale, seed: int, progress: Callable[[int, int], None] | None) -> None:
    n_trials = scale.n_trials or sum(_planned_images(scale, _PARTICIPANT[scale.subjects[0]]).values()) - 1
    total, done = n_trials * len(scale.subjects), 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress(done, total)

    advance(0)
    for subject in scale.subjects:
        truth = subject_truth(subject, scale=scale, seed=seed)
        _write_anatomy(root / "derivatives/anatomical" / subject / "ses-PrismaAnat/anat", truth, seed)
        _write_rois(root / "derivatives/rois" / subject, truth)
        _write_localizer(root / "derivatives/localizers" / subject / "ses-31/func", truth, seed)
        glm = root / "derivatives/glmsingle-tedana" / subject
        kept = [_write_session(glm / s / "func", truth, s, scale, seed, advance) for s in scale.sessions]
        _write_subject_maps(glm, truth, scale, np.concatenate(kept))
        for session in scale.held_out:
            _write_held_out(glm / session / "func", glm / scale.sessions[0] / "func", session)
    _write_splits(root / "derivatives/splits", scale, seed)


def _write_session(
    folder: Path, truth: SubjectTruth, session: str, scale: Scale, seed: int, advance: Callable[[int], None]
) -> Doubles:
    """Write one session; return its (n_trials, n_fitted) z-scored betas, or none where they are too many to hold."""
    stem, labels, n = f"{truth.subject}_{session}_task-images_", truth.labels[session], len(truth.fitted)
    _write_trials(folder / f"{stem}desc-SingletrialBetas_trials", session, labels, truth.subject)

    held = []
    betas_stem = folder / f"{stem}space-T1w_stat-effect_desc-SingletrialBetas_statmap"
    for stored in _write_betas(betas_stem.with_suffix(".nii.gz"), truth, session, seed):
        if not scale.analytic_ceilings:
            held.append(stored.astype(np.float64))
        advance(1)
    _write(betas_stem.with_suffix(".json"), {"Description": "Synthetic single-trial betas", "Units": "arbitrary"})

    z = _zscored(np.array(held)) if held else np.empty((0, n))
    rng = _rng(seed, truth.subject, session, "maps")
    maps: dict[str, Array] = {
        "space-T1w_desc-Noiseceiling_statmap": (
            _known_ceiling(truth, Counter(labels).values()) if scale.analytic_ceilings else _ceiling(z, labels)
        ),
        "space-T1w_stat-rsquare_desc-R2_statmap": _session_r2(truth, session),
        "space-T1w_desc-HRFindex_dseg": rng.integers(0, 20, n).astype(np.int16),
        "space-T1w_desc-Fracridge_statmap": rng.uniform(0.05, 1, n).astype(np.float32),
    }
    for name, values in maps.items():
        _write_map(folder / f"{stem}{name}.nii.gz", truth, values)
    _write(folder / f"{stem}desc-GLMsingle_summary.json", {"Subject": truth.subject, "NumTrials": len(labels)})
    return z


def _write_betas(path: Path, truth: SubjectTruth, session: str, seed: int) -> Iterator[Floats]:
    """Stream a session's volumes into `path`, yielding each one's (n_fitted,) values as a reader will see them."""
    int16 = (truth.subject, session) == _INT16_SESSION
    slope, inter, dtype = (_SLOPE, _INTER, np.dtype("<i2")) if int16 else (1.0, 0.0, np.dtype("<f4"))
    on_disk = np.ravel_multi_index(np.unravel_index(truth.fitted, truth.shape), truth.shape, order="F")
    volume = np.full(np.prod(truth.shape), -inter / slope).astype(dtype)  # reads back as 0
    with _gzip_file(path) as file:
        file.write(_nifti_header((*truth.shape, len(truth.labels[session])), dtype, truth.affine, slope, inter))
        for betas in _session_betas(truth, session, seed):
            volume[on_disk] = np.round((betas - inter) / slope) if int16 else betas
            file.write(volume.data)
            yield volume[on_disk].astype(np.float32) * np.float32(slope) + np.float32(inter)


def _session_r2(truth: SubjectTruth, session: str) -> Floats:
    """Return R2 in percent: it drifts from session to session, its sign, and so the mask, never changes."""
    return np.asarray(truth.r2 * np.float32(1 + 0.05 * list(truth.labels).index(session)))


def _write_subject_maps(glm: Path, truth: SubjectTruth, scale: Scale, z: Doubles) -> None:
    stem = f"{truth.subject}_task-images_"
    labels = [label for session in scale.sessions for label in truth.labels[session]]
    for name, n_wanted in (("4rep", 4), ("12rep", 12), ("Allrep", None)):
        planned = truth.planned.values()
        ceiling = _known_ceiling(truth, planned, n_wanted) if scale.analytic_ceilings else _ceiling(z, labels, n_wanted)
        _write_map(glm / f"{stem}space-T1w_desc-Noiseceiling{name}_statmap.nii.gz", truth, ceiling)
    r2 = np.array([_session_r2(truth, session) for session in scale.sessions], dtype=np.float64)
    _write_map(glm / f"{stem}space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz", truth, r2.mean(0).astype(np.float32))
    _write(glm / f"{stem}desc-GLMsingle_summary.json", {"Subject": truth.subject, "NumTrials": len(labels)})


def _write_trials(stem: Path, session: str, labels: Sequence[str], subject: str) -> None:
    run_format = "run-{:02d}" if (subject, session) == _RUN_STRING_SESSION else "{}"
    lines = ["session\trun\tbeta_index\tlabel"]
    for index, label in enumerate(labels):
        lines.append(f"{session}\t{run_format.format(1 + index * 12 // len(labels))}\t{index}\t{label}")
    _write(stem.with_suffix(".tsv"), "\n".join(lines) + "\n")
    described = {"beta_index": "0-based volume of the betas file", "label": "File name of the image that was shown"}
    _write(stem.with_suffix(".json"), {name: {"Description": text} for name, text in described.items()})


def _write_held_out(folder: Path, like: Path, session: str) -> None:
    """Give a held-out session the keys of a public one; being no table, JSON or gzip stream, they fail any reader."""
    for path in like.iterdir():
        _write(folder / path.name.replace(like.parent.name, session), "held out: must never be read\n")


def _write_anatomy(folder: Path, truth: SubjectTruth, seed: int) -> None:
    stem = f"{truth.subject}_ses-PrismaAnat_space-T1w_res-1pt8_"
    level = _brain_level(truth.shape, seed, truth.subject)
    edge = level.flat[truth.fitted].max()
    head = _ellipsoid(truth.shape, (0, 0, -0.02), (0.90 * edge, 1.08 * edge, 1.04 * edge))
    tissue = np.where(head < 0.9, 150, np.where(head < 1, 760, 20)).astype(np.float32)  # fluid, scalp, air
    tissue[level <= edge] = 560  # grey matter
    tissue[level <= 0.72 * edge] = 900  # white matter
    tissue += 18 * np.abs(_rng(seed, truth.subject, "T1w").standard_normal(truth.shape, dtype=np.float32))
    _write_nifti(folder / f"{stem}T1w.nii.gz", tissue.astype(np.int16), truth.affine)
    _write_nifti(folder / f"{stem}desc-brain_mask.nii.gz", _on_grid(truth, truth.anatomical, np.uint8(1)), truth.affine)


def _write_localizer(folder: Path, truth: SubjectTruth, seed: int) -> None:
    """Write a map of a held-out session that is public all the same."""
    z = _rng(seed, truth.subject, "oloc").standard_normal(len(truth.fitted)).astype(np.float32)
    z[np.isin(truth.fitted, truth.rois["lobjects"])] += 5
    name = f"{truth.subject}_ses-31_task-oloc_space-T1w_res-1pt8_contrast-objects_stat-z_statmap.nii.gz"
    _write_map(folder / name, truth, z)


def _write_rois(folder: Path, truth: SubjectTruth) -> None:
    for name, voxels in truth.rois.items():
        within = folder / _CATEGORY[name]
        label = name if truth.subject in _CLEAN_KEYS else _HYPHENATED.get(name, name)
        one = np.float32(1) if _CATEGORY[name] in _FLOAT_CATEGORIES else np.uint8(1)
        mask = _on_grid(truth, voxels, one)
        _write_nifti(within / f"{truth.subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz", mask, truth.affine)
        if name in _OTHER_GRID_ROIS:
            other = within / f"{truth.subject}_space-T1w_res-1pt5_label-{label}_mask.nii.gz"
            _write_nifti(other, *_at_1pt5(mask, truth.affine))
        for hemi, positions in truth.vertices.items():
            surface = within / f"{truth.subject}_hemi-{hemi}_space-fsnative_label-{label}_mask"
            vertices = truth.surface_rois[hemi][name]
            _write_gifti(surface.with_suffix(".func.gii"), hemi, vertices, len(positions))
            _write_label(surface.with_suffix(".label"), truth.subject, vertices, positions[vertices])


def _at_1pt5(mask: Array, affine: Doubles) -> tuple[Array, Doubles]:
    """Take the nearest voxels on a grid of 1.5 mm that covers the same box."""
    step = 1.5 / _VOXEL_MM
    nearest = [((np.arange(int(n / step)) + 0.5) * step).astype(int) for n in mask.shape]
    to_1pt8 = np.diag([step, step, step, 1.0])
    to_1pt8[:3, 3] = (step - 1) / 2
    return mask[np.ix_(*nearest)], affine @ to_1pt8


def _write_gifti(path: Path, hemi: str, vertices: Ints, n_vertices: int) -> None:
    values = np.zeros(n_vertices, dtype=np.float32)
    values[vertices] = 1
    array = nibabel.gifti.GiftiDataArray(values, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
    side = {"L": "CortexLeft", "R": "CortexRight"}[hemi]
    meta = nibabel.gifti.GiftiMetaData({"AnatomicalStructurePrimary": side})
    _write(path, nibabel.gifti.GiftiImage(darrays=[array], meta=meta).to_bytes())


def _write_label(path: Path, subject: str, vertices: Ints, positions: Doubles) -> None:
    lines = [f"#!ascii label  , from subject {subject} vox2ras=TkReg", str(len(vertices))]
    lines += [f"{v}  {x:.3f}  {y:.3f}  {z:.3f} 1.0000000000" for v, (x, y, z) in zip(vertices, positions, strict=True)]
    _write(path, "\n".join(lines) + "\n")


def _write_splits(folder: Path, scale: Scale, seed: int) -> None:
    pools: dict[str, tuple[str, list[str]]] = {}
    for subject in scale.subjects:
        code = _PARTICIPANT[subject]
        planned = sorted(_planned_images(scale, code))
        ood = [label for label in planned if label.startswith("shared_4rep_OOD_")]
        images = [label for label in planned if label not in ood]
        pools["shared"] = "non-OOD shared", [label for label in images if label.startswith("shared_")]
        # The outdated number of the published texts: a reader that trusts them takes the wrong subject.
        pools[subject] = f"sub-{code[1:]} full pool (unique + non-OOD shared)", images
    for pool, (text, images) in pools.items():
        for name, params in _SPLIT_METHODS:
            test = ood if name == "ood" else _test_side(images, pool, name, seed)
            train = [label for label in images if label not in test]
            split = {
                "name": name,
                "pool": text,
                "splitter": "ood_holdout" if name == "ood" else "synthetic",
                "params": params,
                "n_train": len(train),
                "n_test": len(test),
                "variants": [{"variant_id": 0, "train_ids": train, "test_ids": test}],
            }
            _write(folder / pool / f"{name}.json", split)


def _test_side(images: Sequence[str], pool: str, name: str, seed: int) -> list[str]:
    """Return the images of a pool that a split tests on, in their order."""
    n = len(images)
    if name.startswith("cluster_k5_"):
        rng = _rng(seed, "splits", pool, "cluster_k5")
        ends = np.round(np.cumsum(_GROUP_PARTS) * n).astype(int)
        k = int(name[-1])
        chosen = rng.permutation(n)[ends[k - 1] if k else 0 : ends[k]]
    else:
        chosen = _rng(seed, "splits", pool, name).permutation(n)[: round(_TEST_PART * n)]
    return [images[row] for row in np.sort(chosen)]


def _write_root(root: Path, recipe: dict[str, Any]) -> None:
    text = f"""\
SYNTHETIC DATA. This is not LAION-fMRI data.

This folder has the layout and the file names of the LAION-fMRI bucket (s3://laion-fmri), and computer-generated
numbers in its files: betas, masks, noise ceilings, anatomy and ROIs are made up. Labels follow the data set's grammar,
and some are names of its real images, so that published splits select trials; no brain responded to them here. The
splits in derivatives/splits are made up too, with the names and the schema of the published ones.
It was written by {_GENERATOR}, for tests, examples and benchmarks: nothing in it says anything about a brain.
"""
    _write(root / "README", text)
    _write(root / "participants.tsv", "\n".join(["participant_id", *recipe["Scale"]["subjects"]]) + "\n")
    _write(root / "participants.json", {"participant_id": {"Description": "Synthetic participant"}})
    sums = _sums(root)
    del sums[_DESCRIPTION]
    write_whole(root / _DESCRIPTION, _description(recipe, sums))


def _description(recipe: dict[str, Any], sums: dict[str, str]) -> bytes:
    """Return the file that tells what this is; the files with their checksums tell what may be replaced."""
    description = {
        "Name": "Synthetic demo bucket with the layout of LAION-fMRI",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "License": "CC0-1.0",
        "GeneratedBy": [recipe | {"Files": sums}],
    }
    return _json(description)


def _on_grid(truth: SubjectTruth, voxels: Ints, values: Any) -> Array:
    """Return the grid, of the dtype of `values`, with these at the `voxels` and 0 elsewhere."""
    grid = np.zeros(truth.shape, dtype=values.dtype)
    grid.reshape(-1)[voxels] = values
    return grid


def _write_map(path: Path, truth: SubjectTruth, values: Array) -> None:
    _write_nifti(path, _on_grid(truth, truth.fitted, values), truth.affine)


def _write_nifti(path: Path, data: Array, affine: Doubles) -> None:
    little = data.dtype.newbyteorder("<")
    with _gzip_file(path) as file:
        file.write(_nifti_header(data.shape, little, affine))
        file.write(data.astype(little, copy=False).tobytes(order="F"))


def _nifti_header(
    shape: tuple[int, ...], dtype: np.dtype[Any], affine: Doubles, slope: float = 1, inter: float = 0
) -> bytes:
    """Return all that precedes the voxels: 348 bytes of header and 4 that say that no extension follows."""
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_qform(affine, code=1)  # sets the voxel size too
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(slope, inter)
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(4)


@contextmanager
def _gzip_file(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a gzip stream with neither name nor date in its header: the same content gives the same bytes."""
    with open_new(path) as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
        yield packed


def _write(path: Path, content: bytes | str | dict[str, Any]) -> None:
    """Write bytes, text in UTF-8, or JSON with sorted keys."""
    if isinstance(content, dict):
        content = _json(content)
    create(path, content.encode() if isinstance(content, str) else content)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
