"""Roles of trials in splits, as coordinates and selections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.roles import OOD, ROLES, SHARED, has_role, ood_roles, roles_in
from intake_laion_fmri.running.forks import concurrently
from intake_laion_fmri.splits import POOL, SPLIT, SPLITS
from intake_laion_fmri.splits.sources import FILES_IN_FLIGHT, SplitSource, read_split, revision_of

if TYPE_CHECKING:
    import pandas as pd


def split_roles(
    trials: pd.DataFrame, subject: str, source: SplitSource
) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]:
    """Return roles of trials in every split, as coordinates.

    Splits of the shared pool and of the subject's own.

    ``split_role`` (pool, split, trial), int8: 0 unused, 1 train, 2 test, as CF flags, with the revision and the files'
    sums in its attributes; ``pool`` and ``split``. Errors are those of `SplitSource.read`.
    """
    import pandas as pd

    pools = (SHARED, subject)
    files = [(pool, name) for pool in pools for name in SPLITS if name != OOD]
    found = concurrently(lambda file: read_split(source, *file), files, FILES_IN_FLIGHT, name="splits")
    read = dict(zip(files, found, strict=True))
    codes, labels = pd.factorize(trials["label"].to_numpy(dtype=object))
    roles = np.zeros((len(pools), len(SPLITS), len(labels)), dtype=np.int8)
    sums = {}
    for row, pool in enumerate(pools):
        for column, name in enumerate(SPLITS):
            if name == OOD:
                roles[row, column] = ood_roles(labels, pool)
            else:
                split = read[pool, name]
                roles[row, column] = roles_in(labels, split)
                sums[f"{pool}/{name}"] = split.sha256
    flags = {
        "long_name": "role of the trial's image in the split of the pool",
        "flag_values": list(ROLES.values()),
        "flag_meanings": " ".join(ROLES),
        "revision": revision_of(source, read.values()),
        "sha256": json.dumps(sums),
    }
    return {
        POOL: ((POOL,), np.array(pools, dtype=object), {"long_name": "images that the split is a partition of"}),
        SPLIT: ((SPLIT,), np.array(SPLITS, dtype=object), {"long_name": "train/test split"}),
        "split_role": ((POOL, SPLIT, "trial"), roles[:, :, codes], flags),
    }


def role_mask(
    trials: pd.DataFrame, subject: str, *, split: str, pool: str, role: str, source: SplitSource | None
) -> NDArray[np.bool_]:
    """Return flags of trials with a role, shape (trial,).

    `pool` may be ``"shared"``, ``"subject"``, or ``"pooled"`` for that of all images. `source` says where the files
    are; it is not needed for ``ood``.
    """
    folder = subject if pool == "subject" else pool
    labels = trials["label"].to_numpy(dtype=object)
    if split == OOD:
        roles = ood_roles(labels, folder)
    else:
        assert source is not None, "every split but ood is in a file"
        found = read_split(source, folder, split)
        revision_of(source, [found])
        roles = roles_in(labels, found)
    return has_role(roles, role)
