"""The images shown to each subject, and their order."""

import numpy as np

from intake_laion_fmri.demo.scale import OOD, Scale, generator

# Stems of published image ids, so that the published splits select trials in a demo bucket, too; further stems are made
# up. Per participant: unique images of LAION, THINGS+ and THINGS.
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


def planned_images(scale: Scale, participant: str) -> dict[str, int]:
    """Return the planned number of repetitions of each of a subject's labels."""

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
        *(f"shared_4rep_OOD_{name}" for name in OOD[:n_ood]),
        *(f"unique_LAION_fillup_cluster_{s}_{participant}.jpg" for s in stems(laion, n_unique_laion, "{}_i7")),
        *(f"unique_THINGS+_{s}_{participant}.jpg" for s in stems(things_plus, n_unique_things_plus, "object{}")),
        *(f"unique_THINGS_{s}_{participant}.jpg" for s in stems(things, n_unique_things, "object{}")),
    ]
    return dict.fromkeys(twelve, 12) | dict.fromkeys(four, 4)


def session_labels(scale: Scale, seed: int, subject: str, planned: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Shuffle all repetitions but one, and cut them into unequal sessions."""
    rng = generator(seed, subject, "trials")
    trials = [label for label, n in planned.items() for _ in range(n)]
    trials.remove(rng.choice([label for label, n in planned.items() if n == 4]))
    trials = [trials[k] for k in rng.permutation(len(trials))]
    if scale.n_trials is not None:
        return {scale.sessions[0]: tuple(trials[: scale.n_trials])}
    lengths = np.linspace(0.9, 1.1, len(scale.sessions))
    ends = [round(part * len(trials)) for part in np.cumsum(lengths) / lengths.sum()]
    return {s: tuple(trials[a:b]) for s, a, b in zip(scale.sessions, [0, *ends[:-1]], ends, strict=True)}
