"""Trial tables of a subject as one table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intake_laion_fmri import layout
from intake_laion_fmri.axes.trials import Stimuli
from intake_laion_fmri.reading.arguments import ALL, SessionSelection, check_argument
from intake_laion_fmri.reading.contents import Fetched, subject_contents
from intake_laion_fmri.reading.functional.sidecars import read_sidecars
from intake_laion_fmri.reading.plans.trials import TrialPlan, TrialQuery
from intake_laion_fmri.remote.access import Bucket, open_bucket
from intake_laion_fmri.splits import Pool, Role, SplitName
from intake_laion_fmri.splits.sources import find_source

if TYPE_CHECKING:
    import pandas as pd


def open_trials(
    subject: str,
    *,
    session: SessionSelection = ALL,
    stimuli: Stimuli | None = None,
    split: SplitName | None = None,
    pool: Pool = "shared",
    role: Role = "both",
    splits: str | os.PathLike[str] | None = None,
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> pd.DataFrame:
    """Read a subject's trial table.

    Parameters
    ----------
    subject, session, stimuli, split, pool, role, splits, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    sidecars : bool, default False
        Whether to read the JSON files beside the tables too, into ``attrs["sidecars"]``: key → content.

    Returns
    -------
    pandas.DataFrame
        One row per trial, with the index ``trial`` and as columns the coordinates of `open_betas` along ``trial``.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`.
    """
    query = TrialQuery.from_arguments(session, stimuli, split, pool, role)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    contents = subject_contents(bucket, layout.subject_name(subject), trees=[layout.STIMULI])
    plan = TrialPlan.from_listing(bucket, contents, query)
    table, remarks = plan.read(bucket, Fetched(bucket, plan.files))
    tables = plan.sessions if check_argument("sidecars", sidecars) else ()
    found, faults = read_sidecars(bucket, contents.objects, [plan.tables[name] for name in tables])
    (remarks + faults).warn(stacklevel=2)
    source = find_source(splits, bucket=bucket) if query.needs_files else None
    table = table[query.select(table, contents.subject, source)]
    if sidecars:
        table.attrs["sidecars"] = found
    return table
