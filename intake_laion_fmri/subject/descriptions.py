"""Descriptions of images as arrays and tables: embeddings, captions, segmentations.

They are accessed by image name here, and by trial in `subject.described_trials`. Source: the interface of
``laion_fmri.embeddings``, ``.captions`` and ``.segmentations`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

import builtins
import functools
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.reading.stimuli.captions import open_captions
from intake_laion_fmri.reading.stimuli.embeddings import list_models, open_embeddings
from intake_laion_fmri.reading.stimuli.segmentations import open_segmentations
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_CAPTION_NAMES = {IMAGE: "image_name", "index": "caption_idx"}
_MASK_NAMES = {"mask": "mask_row", IMAGE: "image_name", "instance": "instance_id"}


class NoOpenFile:
    """Context manager for readers that hold no file open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: no file is open."""


class _Described(NoOpenFile):
    """Reader of a description from a bucket.

    Parameters
    ----------
    data_dir : str or path, optional
        Folder to read first; by default the one set with `config.dataset_initialize`.
    bucket, storage_options, mirror_only
        As in `intake_laion_fmri.open_betas`.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        bucket: str | os.PathLike[str] | Bucket | None = None,
        storage_options: Mapping[str, Any] | None = None,
        mirror_only: bool | None = None,
    ) -> None:
        self._bucket = open_bucket(bucket, storage_options, mirror=data_dir, mirror_only=mirror_only)


class Embeddings(_Described):
    """Embeddings of images; a model's file is read on first use.

    Parameters
    ----------
    models : str or iterable of str
        ``"CLIP"``, or several. An unknown model or an empty list raises ValueError.
    data_dir, bucket, storage_options, mirror_only
        As in `load_embeddings`.
    """

    def __init__(
        self,
        models: str | Iterable[str],
        data_dir: str | os.PathLike[str] | None = None,
        *,
        bucket: str | os.PathLike[str] | Bucket | None = None,
        storage_options: Mapping[str, Any] | None = None,
        mirror_only: bool | None = None,
    ) -> None:
        super().__init__(data_dir, bucket=bucket, storage_options=storage_options, mirror_only=mirror_only)
        self.models = [models] if isinstance(models, str) else list(models)
        """The models, in the order in which they were given."""
        if not self.models:
            raise ValueError("models=[] is empty: expected a model such as 'CLIP', or a list of models.")
        self._opened = {model: open_embeddings(model, bucket=self._bucket) for model in self.models}

    @property
    def image_ids(self) -> NDArray[np.object_]:
        """Image names in row order, the same for every model."""
        return np.asarray(next(iter(self._opened.values()))[IMAGE].to_numpy())

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[str]:
        """Yield the models."""
        return iter(self.models)

    def __contains__(self, model: object) -> bool:
        """Return True for a known model, or pair of model and image."""
        if isinstance(model, tuple) and len(model) == 2:
            return model[0] in self._opened and model[1] in self._rows
        return model in self._opened

    def __getitem__(self, model: str) -> NDArray[np.float16]:
        """Return a model's embeddings of all images, (image, feature)."""
        if model not in self._opened:
            raise KeyError(f"Unknown model: {model!r}. Valid: {', '.join(self._opened)}.")
        return np.asarray(self._opened[model].load()["embedding"].to_numpy())

    def get(self, model: str, image_name: str | Iterable[str]) -> NDArray[np.float16]:
        """Return embeddings of one image (feature,) or several (image, feature).

        Images may be repeated. An unknown model or image raises KeyError.
        """
        names = [image_name] if isinstance(image_name, str) else list(image_name)
        unknown = [name for name in names if name not in self._rows]
        if unknown:
            raise KeyError(f"Unknown image name: {unknown[0]!r}. The property image_ids lists the known names.")
        rows = self[model][[self._rows[name] for name in names]]
        return rows[0] if isinstance(image_name, str) else rows

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.image_ids)}


def load_embeddings(
    models: Literal["all"] | str | Iterable[str] = "all",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror_only: bool | None = None,
) -> Embeddings:
    """Return embeddings of images by some models, read on first use.

    Parameters
    ----------
    models : "all", str or iterable of str, default "all"
        All models in the bucket, one, or several.
    data_dir : str or path, optional
        Folder to read first; by default the one set with `config.dataset_initialize`.
    bucket, storage_options, mirror_only
        As in `intake_laion_fmri.open_betas`.

    Returns
    -------
    Embeddings

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `intake_laion_fmri.open_embeddings`, which returns lazy, labelled embeddings.
    """
    bucket = open_bucket(bucket, storage_options, mirror=data_dir, mirror_only=mirror_only)
    return Embeddings((list_models(bucket) or ["CLIP"]) if models == "all" else models, bucket=bucket)


class _ByImage(_Described):
    """Reader of a table whose rows belong to images."""

    @property
    def metadata(self) -> pd.DataFrame:
        raise NotImplementedError

    @functools.cached_property
    def _by_image(self) -> Mapping[Any, Any]:
        return self.metadata.groupby("image_name", sort=False).indices

    def __len__(self) -> int:
        return len(self.metadata)

    def __contains__(self, image_name: object) -> bool:
        return image_name in self._by_image

    def images(self) -> list[str]:
        """List the described images, in table order."""
        return [*self._by_image]


class Captions(_ByImage):
    """Captions of images by name.

    Parameters are those of `load_embeddings`, errors those of `open_captions`.
    """

    @functools.cached_property
    def metadata(self) -> pd.DataFrame:
        """Table of captions, with the file's columns."""
        import pandas as pd

        table: pd.DataFrame = open_captions(bucket=self._bucket)
        table.columns = pd.Index([_CAPTION_NAMES.get(name, name) for name in table.columns])
        return table

    def get(self, image_name: str) -> pd.DataFrame:
        """Return an image's captions by index; empty if there are none."""
        table = self.metadata.take(self._by_image.get(image_name, []))
        return table.sort_values("caption_idx").reset_index(drop=True)

    def list(self, image_name: str, source: Literal["human", "ai"] | None = None) -> builtins.list[str]:
        """List an image's captions by index, optionally of one source."""
        check_option("source", source, valid=("human", "ai"), optional=True)
        table = self.get(image_name)
        chosen = table if source is None else table[table["source"] == source]
        return [*chosen["caption"]]

    def human(self, image_name: str, limit: int | None = None) -> builtins.list[str]:
        """List the human captions of an image, up to `limit`."""
        return self.list(image_name, "human")[:limit]

    def ai(self, image_name: str) -> str | None:
        """Return the AI caption of an image, or None."""
        return next(iter(self.list(image_name, "ai")), None)


class Segmentations(_ByImage):
    """Masks of objects in shared images.

    Parameters are those of `load_embeddings`, errors those of `open_segmentations`.
    """

    @functools.cached_property
    def _opened(self) -> xr.Dataset:
        return open_segmentations(bucket=self._bucket)

    @functools.cached_property
    def metadata(self) -> pd.DataFrame:
        """Table of masks, with the file's columns except ``mask_file``."""
        import pandas as pd

        coords = self._opened.coords.items()
        columns = {_MASK_NAMES.get(str(name), str(name)): coord.to_numpy() for name, coord in coords}
        columns["localized"] = columns["localized"].astype(np.int64)
        return pd.DataFrame(columns)

    def __getitem__(self, mask_row: int) -> NDArray[np.uint8]:
        """Read a mask by row, (y, x); IndexError for an unknown row."""
        row = operator.index(mask_row)
        if row not in self._opened.indexes["mask"]:
            raise IndexError(f"No mask {row}: expected a mask_row of metadata, which has {len(self)} masks.")
        return np.asarray(self._opened["masks"].sel(mask=row).to_numpy())

    def get(self, image_name: str, noun: str, instance: int = 0) -> NDArray[np.uint8]:
        """Return a mask by image, noun and ``instance_id``, or raise KeyError."""
        table = self.for_image(image_name)
        if table.empty:
            raise KeyError(f"No masks for {image_name!r}: only shared images have masks. images() lists them.")
        found = table[(table["noun"] == noun) & (table["instance_id"] == instance)]
        if found.empty:
            pairs = zip(table["noun"], table["instance_id"], strict=True)
            there = ", ".join(f"{noun} {instance}" for noun, instance in pairs)
            raise KeyError(f"No mask of {noun!r}, instance {instance}, in {image_name!r}. Available: {there}.")
        return self[found["mask_row"].iloc[0]]

    def for_image(self, image_name: str) -> pd.DataFrame:
        """Return an image's rows of `metadata`; may be empty."""
        return self.metadata.take(self._by_image.get(image_name, [])).reset_index(drop=True)

    def nouns(self, image_name: str, localized_only: bool = True) -> list[str]:
        """List an image's nouns, by default the localized ones, without repeats."""
        table = self.for_image(image_name)
        chosen = table[table["localized"] == 1] if localized_only else table
        return list(dict.fromkeys(chosen["noun"]))

    def has_image(self, image_name: str) -> bool:
        """Return True if an image has masks."""
        return image_name in self._by_image
