"""The image file: its index, and reading by that index."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.images import Images, ImageSelection, choose_images
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.formats.hdf5 import open_hdf5
from intake_laion_fmri.formats.hdf5_heap import read_element
from intake_laion_fmri.formats.pictures import Mode, as_displayed, decode, open_picture
from intake_laion_fmri.reading.stimuli.table import listed_stimuli, stimulus_table
from intake_laion_fmri.remote.access import SMALL_FILES_IN_FLIGHT, Bucket, ObjectInfo
from intake_laion_fmri.remote.messages import GATED_ADVICE
from intake_laion_fmri.remote.stream import RangedFile
from intake_laion_fmri.running.forks import concurrently

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

_PAGE_BYTES = 1024 * 1024
_MOST_BYTES = 64 * 1024 * 1024
"""Maximum size of an encoded image; those of the data set have about 130 kB."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """The image file: its labels, and each image's position."""

    root: Bucket
    """The bucket, or the folder of a mirror."""
    info: ObjectInfo
    """The file."""
    table: pd.DataFrame
    """The stimulus table: row k describes image k."""
    references: NDArray[Any]
    """Positions of the images, shape (image,), `hdf5.REFERENCE`."""

    @classmethod
    def from_bucket(cls, bucket: Bucket) -> ImageFile:
        """Find the file and read its index; errors as in `open_stimuli`."""
        listing = listed_stimuli(bucket)
        root, info = _located(bucket, listing)
        table = stimulus_table(bucket, listing)
        name = root.locate(info.key)
        pages = RangedFile(functools.partial(root.read, info.key), info.size, _PAGE_BYTES)
        with io.BufferedReader(pages, _PAGE_BYTES) as file, open_hdf5(file, name=name) as opened:
            references = opened.references(opened.dataset("images", "bytes"))
        if len(references) != len(table):
            raise DataIntegrityError(
                f"{name}: expected {len(table)} images, one per row of the stimulus table, found {len(references)}. "
                "Fetch both again; if it persists, report it."
            )
        return cls(root, info, table, references)

    def choose(self, images: Images) -> ImageSelection:
        """Resolve a user's selection; see `choose_images`."""
        return choose_images(images, self.table.index.tolist(), where=self.root.url)

    def block(self, selection: ImageSelection, shape: tuple[int, ...], mode: Mode, *, resized: bool) -> ImageBlock:
        """Return the block of some images."""
        labels = tuple(map(str, selection.labels))
        return ImageBlock(self.root, self.info, labels, self.references[selection.rows], shape, mode, resized)

    def encoded(self, label: str) -> bytes:
        """Read an image's encoded bytes."""
        selection = self.choose([label])
        return self.block(selection, (), "RGB", resized=False).encoded(0)

    def get(self, label: str, *, displayed: bool = True) -> Image.Image:
        """Return a Pillow image, as displayed or with transparency."""
        name = f"{self.root.locate(self.info.key)}: {label}"
        picture = open_picture(self.encoded(label), name=name)
        try:
            picture.load()
            return as_displayed(picture) if displayed else picture
        except (OSError, ValueError, SyntaxError) as error:
            raise DataIntegrityError(f"{name}: expected a complete picture, found a broken one ({error}).") from error

    def size_of(self, selection: ImageSelection) -> tuple[int, int]:
        """Return the first image's height and width."""
        if not len(selection):
            return 0, 0
        label = str(selection.labels[0])
        picture = open_picture(self.encoded(label), name=f"{self.root.locate(self.info.key)}: {label}")
        return picture.height, picture.width


@dataclass(frozen=True, eq=False)
class ImageBlock:
    """Some images, as a worker reads them."""

    root: Bucket
    """The bucket, or the folder of a mirror."""
    info: ObjectInfo
    """The file; its size and ETag are pinned."""
    labels: tuple[str, ...]
    """The images."""
    references: NDArray[Any]
    """Position of each image in the file."""
    shape: tuple[int, ...]
    """Shape of a decoded image."""
    mode: Mode
    """Mode of a decoded image."""
    resized: bool
    """Whether images are resized to that shape; otherwise they must have it."""

    def __dask_tokenize__(self) -> object:
        where = self.root.__dask_tokenize__(), self.info.__dask_tokenize__(), self.references.tobytes()
        return ("intake_laion_fmri.ImageBlock", *where, self.shape, self.mode, self.resized)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> ImageBlock:
        """Return a block of some of its images."""
        return replace(self, labels=tuple(self.labels[row] for row in rows), references=self.references[rows])

    def read(self, _: None = None) -> NDArray[np.uint8]:
        """Read and decode the images: shape (image, *shape)."""
        self.root.requests.expect_unchanged(self.info)
        # Concurrent requests hide a server's latency; on a disk, concurrent blocks are enough.
        contents = concurrently(self.encoded, range(len(self)), 1 if self.root.is_local else SMALL_FILES_IN_FLIGHT)
        result = np.empty((len(self), *self.shape), dtype=np.uint8)
        for number, content in enumerate(contents):
            name, size = self._name(number), self.shape[0] if self.resized else None
            picture = decode(content, size=size, mode=self.mode, name=name)
            if picture.shape != self.shape:
                found, expected = (" x ".join(map(str, shape[:2])) for shape in (picture.shape, self.shape))
                raise DataIntegrityError(
                    f"{name}: expected {expected} pixels, like the first image, found {found}. Pass size= to resize "
                    "all images."
                )
            result[number] = picture
        return result

    def encoded(self, number: int) -> bytes:
        """Read an image's encoded bytes."""
        length, address, index = (int(value) for value in self.references[number])
        if length > _MOST_BYTES:
            raise DataIntegrityError(f"{self._name(number)}: expected at most {_MOST_BYTES} bytes, found {length}.")

        def read(start: int, stop: int) -> bytes:
            return self.root.read(self.info.key, start, min(stop, self.info.size))

        return read_element(read, address, index, length, name=self._name(number))

    def _name(self, number: int) -> str:
        return f"{self.root.locate(self.info.key)}: {self.labels[number]}"


def as_displayed_rgb(image: Image.Image) -> Image.Image:
    """Convert a Pillow image to RGB, with transparent parts over grey 128."""
    return as_displayed(image)


def _located(bucket: Bucket, listing: Mapping[str, ObjectInfo]) -> tuple[Bucket, ObjectInfo]:
    """Find the image file in the mirror or the bucket."""
    listed, mirror = listing.get(layout.GATED), bucket.copies.mirror
    if mirror is not None and not bucket.copies.are_alone:
        # It cannot be mirrored from the bucket, so it has no record; its SHA-256 was checked when it was added.
        path = mirror.path_of(layout.GATED)
        if path.is_file():
            folder = Bucket(mirror.path.as_posix())
            found = folder.state(layout.GATED)
            if listed is not None and listed.size != found.size:
                raise DataIntegrityError(
                    f"{path} has {found.size} bytes, and the bucket's has {listed.size}: it is incomplete or another "
                    "version. Move it away and run 'intake-laion-fmri stimuli get' again."
                )
            return folder, found
    if listed is None:
        raise NotInBucketError(f"{bucket.missing(layout.GATED, listing)} {GATED_ADVICE}.")
    return bucket, listed
