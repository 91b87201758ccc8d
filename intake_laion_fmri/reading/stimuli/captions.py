"""Captions of images by people and a model, as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.images import IMAGE, Images
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.formats.tables import read_table, whole_numbers
from intake_laion_fmri.reading.contents import expect_object
from intake_laion_fmri.reading.stimuli.table import chosen_labels, listed_stimuli
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import pandas as pd

_RENAMED = {"image_name": IMAGE, "caption_idx": "index"}
_COLUMNS = ("image_name", "caption_idx", "source", "caption", "origin_collection", "participant_id", "ai_model")


def open_captions(
    images: Images = None,
    *,
    source: str | None = None,
    human: bool | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> pd.DataFrame:
    """Read captions of images.

    Shared images have five or six captions, all others three.

    Parameters
    ----------
    images : str, sequence of str, Dataset, DataArray or DataFrame, optional
        As in `open_embeddings`; repeated images are returned once. By default all.
    source : str, optional
        Keep captions of this source, spelled as in the file.
    human : bool, optional
        True keeps captions by people, False those by a model.
    bucket, storage_options, mirror, mirror_only
        As in `open_betas`.

    Returns
    -------
    pandas.DataFrame
        One row per caption, by image in the order of `images` and then as in the file: ``image`` (the label),
        ``index`` (0 for the model's), ``source``, ``caption``, ``origin_collection``, ``participant_id``, ``ai_model``
        (empty for people). All except ``index`` are texts.

    Raises
    ------
    ValueError
        For an unknown image or source, with the nearest ones. Images without captions are not an error.
    NotInBucketError
        If the bucket has no captions.
    AccessDeniedError, BucketUnreachableError
        As in `open_betas`.
    DataIntegrityError
        If the file is not such a table.

    Notes
    -----
    One listing and one request, two with `images`; the user's cache keeps the answers. The file is
    ``stimuli/task-images_desc-captions.csv``.
    """
    import pandas as pd

    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    if human is not None and not isinstance(human, bool | np.bool_):
        raise TypeError(f"human={human!r}: expected True, False or None.")
    listing = listed_stimuli(bucket)
    key = layout.key("captions")
    info, name = expect_object(bucket, key, listing), bucket.locate(key)
    table = read_table(bucket.fetch([info])[key], name=name, needed=_COLUMNS).astype(str)
    table["caption_idx"] = whole_numbers(table, "caption_idx", name=name)
    table.columns = pd.Index([_RENAMED.get(column, column) for column in table.columns])
    if images is not None:
        chosen = chosen_labels(bucket, listing, images, table[IMAGE].unique().tolist)
        rank = {label: number for number, label in enumerate(dict.fromkeys(chosen))}
        table = table[table[IMAGE].isin(rank)].sort_values(IMAGE, key=lambda names: names.map(rank), kind="stable")
    if source is not None:
        check_option("source", source, valid=sorted(set(table["source"])))
        table = table[table["source"] == source]
    if human is not None:
        table = table[(table["ai_model"] == "") == human]
    return table.reset_index(drop=True)
