"""The bucket of a Dataset, recorded for later calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intake_laion_fmri.remote.access import Bucket

if TYPE_CHECKING:
    import xarray as xr

_ENCODING = "bucket"
"""Entry in the encoding of ``subject``: unlike attributes, it is never written to a file."""

_SUBJECT, _MOST = "subject", 32
_recent: dict[str, Bucket] = {}
"""URL without secrets → the bucket last opened with it in this process, with options and mirror."""


def with_origin(dataset: xr.Dataset, bucket: Bucket) -> xr.Dataset:
    """Record a Dataset's bucket in ``subject``, which means and selections keep."""
    if _SUBJECT in dataset.coords:
        dataset[_SUBJECT].encoding[_ENCODING] = bucket.url
        _recent.pop(bucket.url, None)
        _recent[bucket.url] = bucket
        while len(_recent) > _MOST:
            _recent.pop(next(iter(_recent)), None)
    return dataset


def origin(data: xr.Dataset | xr.DataArray) -> Any:
    """Return a Dataset's recorded bucket as an argument of `open_bucket`.

    Returns
    -------
    Bucket, str or None
        The bucket; its URL, without options, if another process opened the Dataset; None if it is not recorded.
    """
    url = data.coords[_SUBJECT].encoding.get(_ENCODING) if _SUBJECT in data.coords else None
    return _recent.get(url, url) if isinstance(url, str) else None


def bucket_of(data: xr.Dataset | xr.DataArray, where: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a user's bucket arguments, or by default those of the data."""
    return where if any(value is not None for value in where.values()) else {"bucket": origin(data)}
