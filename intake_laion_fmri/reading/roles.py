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
    """Return the roles of trials in all splits of both pools.

    Returns
    -------
    dict
        The coordinates ``pool`` (shared, and the subject's own), ``split``, and ``split_role`` (pool, split, trial),
        int8 CF flags: 0 unused, 1 train, 2 test; its attributes hold the revision and the files' SHA-256 sums.

    Raises
    ------
    BucketUnreachableError, DataIntegrityError, NotInBucketError, AccessDeniedError
        As in `SplitSource.read`.
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

    Parameters
    ----------
    trials : pandas.DataFrame
        Table with the column ``label``.
    subject : str
        ``"sub-01"``.
    split, pool, role : str
        As in `open_betas`.
    source : SplitSource or None
        Source of split files; not needed for the split ``ood``.
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
