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
"""URL without secrets → the bucket last opened under it in this process, with its options and its mirror."""


def with_origin(dataset: xr.Dataset, bucket: Bucket) -> xr.Dataset:
    """Record a Dataset's bucket in the coordinate ``subject``.

    Means and selections keep it.
    """
    if _SUBJECT in dataset.coords:
        dataset[_SUBJECT].encoding[_ENCODING] = bucket.url
        _recent.pop(bucket.url, None)
        _recent[bucket.url] = bucket
        while len(_recent) > _MOST:
            _recent.pop(next(iter(_recent)), None)
    return dataset


def origin(data: xr.Dataset | xr.DataArray) -> Any:
    """Return a Dataset's bucket as `open_bucket` takes it.

    None if it is not recorded.

    In another process than the one that opened the Dataset this is its URL, without options.
    """
    url = data.coords[_SUBJECT].encoding.get(_ENCODING) if _SUBJECT in data.coords else None
    return _recent.get(url, url) if isinstance(url, str) else None


def bucket_of(data: xr.Dataset | xr.DataArray, where: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the bucket's arguments for an opener: those of a user, or where the data were opened."""
    return where if any(value is not None for value in where.values()) else {"bucket": origin(data)}
