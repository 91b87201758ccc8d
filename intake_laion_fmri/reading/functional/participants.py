"""The table of participants."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intake_laion_fmri import layout
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.reading.arguments import check_argument
from intake_laion_fmri.reading.contents import expect_object
from intake_laion_fmri.reading.functional.sidecars import read_sidecars
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import pandas as pd


def open_participants(
    *,
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> pd.DataFrame:
    """Read the table of participants.

    Parameters
    ----------
    sidecars : bool, default False
        Whether to read ``participants.json`` too, into ``attrs["sidecars"]``: column → description.
    bucket, storage_options, mirror, mirror_only
        As in `open_betas`.

    Returns
    -------
    pandas.DataFrame
        One row per participant, with the index ``participant_id``, such as ``"sub-01"``, and the file's columns;
        ``n/a`` is NaN.

    Raises
    ------
    NotInBucketError
        If the bucket has no such table.
    DataIntegrityError
        If it is not a table with a column ``participant_id``.
    AccessDeniedError, BucketUnreachableError
        As in `open_betas`.

    Notes
    -----
    One listing, and one request for each file.
    """
    import pandas as pd

    wanted = check_argument("sidecars", sidecars)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    key = layout.key("participants")
    objects = {name: info for name, info in bucket.root_files().items() if name.startswith("participants.")}
    info = expect_object(bucket, key, objects)
    content, broken = bucket.fetch([info])[key], Broken(bucket.locate(key))
    try:
        table = pd.read_csv(io.BytesIO(content), sep="\t", na_values=["n/a"], dtype={"participant_id": str})
    except (ValueError, UnicodeError) as error:  # also from pandas: no columns, rows of different lengths
        raise broken(f"expected a table, found: {error}") from error
    if "participant_id" not in table:
        raise broken(f"expected a column participant_id, found {', '.join(map(str, table))[:200]}")
    table = table.set_index("participant_id")
    if wanted:
        found, remarks = read_sidecars(bucket, objects, [info])
        remarks.warn(stacklevel=2)
        table.attrs["sidecars"] = found.get(key, {})
    return table
