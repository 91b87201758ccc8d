"""Size of a synthetic bucket, and its random number generators."""

import zlib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Bools: TypeAlias = npt.NDArray[np.bool_]
Doubles: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]

FULL_BRAIN = 272_080  # voxels in sub-01's R2 mask; the sizes in `brain.ROIS` are for this brain

_FIVE = ("sub-01", "sub-03", "sub-05", "sub-06", "sub-07")

OOD = (
    "shape_blob_round-01.png",
    "relations_007_saucer-ontop-cup_04.jpg",
    "unusual_Screenshot 2024-05-06 at 14.45.09.jpg",
    "cropped_hot-air_balloon.png",
    "selfmade_01.jpg",
    "gaudy_gaudy-altar.jpg",
    "illusion-classic_classic-illusion-01-asahi.png",
    "gabor_gabor-01-top-left.jpg",
    "illusion-natural_cup-glitch.jpg",
    "unusual_https___www.example.com_img%20a.jpg",  # made up: decoding it like a URL breaks the match by label
    "unusual_https_www.anothermag.com_design-living_2732_weird-and-wonderful-fruit-and-vegetables .jpg",
    "shape_blob_round-02.png",
    "relations_010_potato-under-spoon_01.jpg",
    "cropped_air_pump.png",
    "gabor_gabor-02-top-right.jpg",
    "illusion-classic_classic-illusion-02-chubb.png",
)


@dataclass(frozen=True)
class Scale:
    """Size of a demo bucket."""

    subjects: tuple[str, ...]
    """Subjects to write, of the five real ones."""
    sessions: tuple[str, ...]
    """Public sessions of every subject."""
    shape: tuple[int, int, int]
    """Shape of the voxel grid; voxels are 1.778 mm wide at every scale."""
    n_voxels: int
    """Number of voxels with a positive R2 in the first subject; each later subject has 11 fewer than the previous."""
    n_vertices: tuple[int, int]
    """Number of surface vertices of the left and the right hemisphere."""
    shared_12rep: tuple[int, int]
    """Numbers of shared images shown 12 times, from LAION and THINGS+."""
    shared_4rep: tuple[int, int]
    """Numbers of shared images shown 4 times, from NSD and OOD. With at least 9 OOD images, every OOD type occurs."""
    unique_4rep: tuple[int, int, int]
    """Numbers of images shown 4 times to a single subject, from LAION, THINGS+ and THINGS."""
    n_trials: int | None = None
    """Number of trials if there is one session, the first of a longer plan; None divides the plan among sessions."""
    analytic_ceilings: bool = False
    """Whether noise ceilings follow from the known signal and noise, so that betas need not be kept in memory."""
    held_out: tuple[str, ...] = ("ses-31",)
    """Sessions whose keys exist, but whose content must never be read."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.subjects) - set(_FIVE)):
            raise ValueError(f"Unknown subjects: {unknown}. Valid: {', '.join(_FIVE)}.")
        if self.shared_4rep[1] > len(OOD):
            raise ValueError(f"Expected at most {len(OOD)} OOD images, found shared_4rep={self.shared_4rep}.")
        if self.n_trials is not None and len(self.sessions) != 1:
            raise ValueError(f"n_trials={self.n_trials} requires a single session, found {len(self.sessions)}.")


_THREE = ("ses-01", "ses-02", "ses-03")
SCALES: dict[str, Scale] = {
    "tiny": Scale(_FIVE[:2], _THREE, (13, 15, 11), 360, (642, 650), (3, 2), (3, 11), (3, 1, 1)),
    "small": Scale(_FIVE, _THREE, (34, 40, 30), 4500, (642, 650), (8, 4), (6, 14), (24, 8, 4)),
    "session": Scale(
        subjects=("sub-01",),
        sessions=("ses-01",),
        shape=(143, 143, 143),
        n_voxels=FULL_BRAIN,
        n_vertices=(2562, 2600),
        shared_12rep=(180, 60),
        shared_4rep=(60, 16),
        unique_4rep=(1100, 75, 36),
        n_trials=1044,
        analytic_ceilings=True,
    ),
}
"""``tiny`` for tests (2 MB), ``small`` for examples (45 MB), ``session`` for benchmarks (1.1 GB, streamed)."""


def as_scale(scale: str | Scale) -> Scale:
    """Return a scale by name; return a `Scale` unchanged."""
    if isinstance(scale, Scale):
        return scale
    if scale in SCALES:
        return SCALES[scale]
    nearest = get_close_matches(str(scale), SCALES, n=1, cutoff=0)[0]
    raise ValueError(f"Unknown scale: {scale!r}. Did you mean {nearest!r}? Valid: {', '.join(SCALES)}.")


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a random generator for one purpose, independent of all others."""
    words = [seed, *(zlib.crc32(name.encode()) for name in names)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
