"""Trials and their images, as items or batches for `torch.utils.data.DataLoader`.

A map-style dataset is anything with ``__len__`` and ``__getitem__``; ``__getitems__`` gives a batch at once. Nothing
here imports torch.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import betas_of, is_lazy
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option, in_short
from intake_laion_fmri.reading.some_rows import LazyRows

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["to_torch"]

KEPT_BYTES = 2 * 1024**3
"""Default size of the cache of lazy betas in each worker, in bytes."""

NotFinite = Literal["raise", "keep", "zero"]
"""How to treat betas that are NaN or infinite."""

Transform = Callable[[Any], Any]


def to_torch(
    dataset: xr.Dataset,
    images: xr.Dataset | xr.DataArray | None = None,
    transform: Transform | None = None,
    *,
    nan: NotFinite = "raise",
    keep_bytes: int = KEPT_BYTES,
) -> Items:
    """Convert trials or images to a map-style torch dataset.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` along ``voxel`` and ``trial`` or ``image``: in memory, in a memory map, or lazy.
    images : xarray.Dataset or xarray.DataArray, optional
        With the index ``image``, as returned by `open_stimuli` or `open_embeddings`; matched by label, in any order.
        Lazy images of `open_stimuli` are decoded by the worker that needs them, once per batch.
    transform : callable, optional
        Called with an item's image, uint8 (y, x, channel) as in `open_stimuli`, or its features; without `images`, with
        the betas.
    nan : {"raise", "keep", "zero"}, default "raise"
        How to treat betas that are NaN or infinite, when an item is read.
    keep_bytes : int, default 2 GiB
        Bytes of lazy betas that each worker keeps. Blocks that do not fit are read again.

    Returns
    -------
    Items
        ``items[5]`` is a dict: ``betas``, float32 (voxel,); ``label``; ``trial``, int, if the betas have trials; and
        ``image``, the image or its features. torch's default collation converts them to tensors. The dataset is
        picklable, and works in forked and spawned workers.

    Raises
    ------
    ValueError
        If there are no betas, items or voxels, an option is unknown, or `images` lacks an image of the betas. When
        reading an item, if its betas are not finite.
    IndexError
        When reading an item that does not exist.

    Warns
    -----
    UserWarning
        If each worker would decompress whole sessions from streams, or decode whole blocks for one image.

    Notes
    -----
    Exceptions of `transform` are raised unchanged, with a note that has the item and its label.

    A worker reads a session of a store when the first of its trials is requested, and keeps it: 30 sessions of 500
    voxels take 64 MB. If shuffled betas exceed `keep_bytes`, sessions are read repeatedly: load them into a memory map
    first. Spawned workers receive copies of data in memory; forked workers share them.
    """
    check_option("nan", nan, valid=get_args(NotFinite))
    if isinstance(keep_bytes, bool) or not isinstance(keep_bytes, int | np.integer) or keep_bytes < 0:
        raise ValueError(f"keep_bytes={keep_bytes!r}: expected a number of bytes, such as 2 * 1024**3.")
    dim = IMAGE if IMAGE in getattr(dataset, "dims", ()) else TRIAL
    betas = betas_of(dataset, dim, VOXEL)
    if 0 in betas.shape:
        raise ValueError(
            f"Expected betas of at least one {dim} and one voxel, found {betas.shape[0]} {dim}s and "
            f"{betas.shape[1]} voxels: the selection is empty."
        )
    labels = dataset["label" if dim == TRIAL else IMAGE].values
    pictures = None if images is None else Pictures.from_images(images, labels)
    trials = dataset[TRIAL].values if dim == TRIAL else None
    return Items(Rows(betas.data, keep_bytes), labels, trials, pictures, transform, nan)


class Rows:
    """Rows of an array in memory, or of a lazy array."""

    def __init__(self, array: Any, keep_bytes: int) -> None:
        self._lazy = LazyRows(array, keep_bytes) if is_lazy(array) else None
        self._array, self.shape = array, array.shape
        if self._lazy is not None and self._lazy.reads_streams:
            warnings.warn(
                "The betas are lazy streams: each worker decompresses every session that it needs. Load them first "
                "with read() or load(), or open them from a store.",
                stacklevel=3,
            )

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return a copy of some rows."""
        if self._lazy is not None:
            return self._lazy.take(rows)
        return np.asarray(self._array[rows])


class Pictures:
    """Images or their features, by label."""

    def __init__(self, array: Any, row_of: NDArray[np.intp]) -> None:
        self._lazy = LazyRows(array, KEPT_BYTES) if is_lazy(array) else None
        self._array, self._row_of = array, row_of
        if self._lazy is not None and not self._lazy.splits_blocks:
            warnings.warn(
                f"Blocks of up to {max(array.chunks[0])} images are decoded to read a single image. Pass images as "
                "opened, each once, such as open_stimuli(np.unique(ds.label), size=224).",
                stacklevel=4,
            )

    @classmethod
    def from_images(cls, images: xr.Dataset | xr.DataArray, labels: NDArray[Any]) -> Pictures:
        """Match images to labels, or raise ValueError if any is missing."""
        import pandas as pd

        array = _variable(images)
        index = array.get_index(IMAGE)
        first = np.flatnonzero(~index.duplicated())
        rows = index[first].get_indexer(pd.Index(labels.astype(object)))
        if (rows < 0).any():
            missing = list(dict.fromkeys(map(str, labels[rows < 0])))
            raise ValueError(
                f"{len(missing):,} images of the betas are missing in images=: {in_short(missing, most=5)}. Open all "
                "of them, with open_stimuli(np.unique(ds.label)), or select the trials whose images are available."
            )
        data, rows = array.transpose(IMAGE, ...).data, first[rows]
        if is_lazy(data) and data.ndim == 2:  # features: small, and in a single block
            used, rows = np.unique(rows, return_inverse=True)
            data = data[used].compute()
        return cls(data, rows)

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the images of some items."""
        positions = self._row_of[rows]
        return self._lazy.take(positions) if self._lazy is not None else np.asarray(self._array[positions])


class Items:
    """A map-style dataset, created by `to_torch`."""

    def __init__(
        self,
        betas: Rows,
        labels: NDArray[Any],
        trials: NDArray[np.int64] | None,
        images: Pictures | None,
        transform: Transform | None,
        nan: NotFinite,
    ) -> None:
        self._betas, self._labels, self._trials = betas, labels, trials
        self._images, self._transform, self._nan = images, transform, nan

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        n, n_voxels = self._betas.shape
        return f"<{n:,} items of {n_voxels:,} betas{'' if self._images is None else ', with images'}>"

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return a batch, reading each of its blocks once."""
        rows = np.array([row_of(index, len(self)) for index in indices], dtype=np.intp)
        betas = self._finite(self._betas.take(rows).astype(np.float32, copy=False), rows)
        images = None if self._images is None else self._images.take(rows)
        return [self._item(row, betas[n], None if images is None else images[n]) for n, row in enumerate(rows)]

    def _item(self, row: np.intp, betas: NDArray[np.float32], image: Any) -> dict[str, Any]:
        item: dict[str, Any] = {"betas": betas, "label": str(self._labels[row])}
        if self._trials is not None:
            item["trial"] = int(self._trials[row])
        if self._images is not None:
            item["image"] = image
        if self._transform is not None:
            name = "betas" if self._images is None else "image"
            item[name] = transformed(self._transform, item[name], f"item {row}, {item['label']!r}")
        return item

    def _finite(self, betas: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        if self._nan == "keep":
            return betas
        known = np.isfinite(betas)
        if known.all():
            return betas
        if self._nan == "zero":
            return np.where(known, betas, np.float32(0))
        first = int((~known).any(axis=1).argmax())
        raise ValueError(
            f"Item {rows[first]}, {str(self._labels[rows[first]])!r}: {np.count_nonzero(~known[first]):,} of "
            f"{betas.shape[1]:,} betas are not finite. Drop such voxels with ds.laion.finite(), or pass nan='zero' or "
            "nan='keep'."
        )


def row_of(index: int, n: int) -> int:
    """Return the row of an item, counting negative indices from the end.

    Raises
    ------
    IndexError
        If there is no such item.
    """
    row = operator.index(index)
    if not -n <= row < n:
        raise IndexError(f"No item {row}: expected an index from 0 to {n - 1}.")
    return row % n


def transformed(transform: Transform, value: Any, which: str) -> Any:
    """Call a user's transform, adding the item to its exceptions."""
    try:
        return transform(value)
    except Exception as error:
        error.add_note(f"raised by the transform, for {which}")
        raise


def _variable(images: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return the only array along images, or raise ValueError."""
    arrays: list[xr.DataArray] = [*getattr(images, "data_vars", {"": images}).values()]
    found = [array for array in arrays if IMAGE in getattr(array, "dims", ()) and array.ndim > 1]
    if len(found) != 1 or IMAGE not in found[0].indexes:
        raise ValueError(
            "images= must have exactly one array with the index image, as open_stimuli and open_embeddings return it, "
            f"found {len(found)} in {type(images).__name__}."
        )
    return found[0]
