"""Segmentations: the table's rows, their masks bit for bit, and no byte of the others."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem

from intake_laion_fmri import layout, open_catalog, open_segmentations, open_trials, union_masks
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.mirror.run import mirror_bucket
from intake_laion_fmri.readers import SegmentationsData, SegmentationsReader

FILE, TABLE = layout.key("segmentations"), layout.key("segmentation_table")


def oracle(bucket: Path) -> tuple[list[dict[str, str]], np.ndarray]:
    with (bucket / TABLE).open(encoding="utf-8", newline="") as file, h5py.File(bucket / FILE) as masks:
        return list(csv.DictReader(file)), masks["masks"][:]


def test_the_masks_are_those_of_the_tables_rows(tiny: Path) -> None:
    """The file of masks is in another order than the table."""
    found, (rows, masks) = open_segmentations(bucket=tiny), oracle(tiny)
    numbers = [int(row["mask_row"]) for row in rows]
    assert numbers != sorted(numbers)
    assert found["mask"].values.tolist() == numbers
    assert found["masks"].dtype == np.uint8
    assert set(found.chunksizes["mask"]) == {1}
    assert np.array_equal(found["masks"].values, masks[numbers])
    for name, column in {"image": "image_name", "noun": "noun", "instance": "instance_id"}.items():
        assert found[name].values.astype(str).tolist() == [row[column] for row in rows]
    for name in ("score", "box_x0", "box_y0", "box_x1", "box_y1"):
        assert found[name].values.tolist() == [float(row[name]) for row in rows]
    assert found["localized"].values.tolist() == [row["localized"] == "1" for row in rows]
    box = found.isel(mask=int(np.argmax(found["localized"].values)))
    inside = box["masks"].values[int(box["box_y0"]) : int(box["box_y1"]), int(box["box_x0"]) : int(box["box_x1"])]
    assert inside.all()
    assert inside.sum() == box["masks"].values.sum()


def test_a_selection(tiny: Path) -> None:
    everything = open_segmentations(bucket=tiny)
    trials = open_trials("sub-01", bucket=tiny)
    assert set(open_segmentations(trials, bucket=tiny)["image"].values) <= set(trials["label"])
    unique = next(label for label in trials["label"] if label.startswith("unique"))
    assert open_segmentations(unique, bucket=tiny).sizes == {"mask": 0, "y": 48, "x": 48}
    noun = str(everything["noun"].values[0])
    found = open_segmentations(nouns=[noun], localized=True, bucket=tiny)
    expected = everything.isel(mask=(everything["noun"].values == noun) & everything["localized"].values)
    xr.testing.assert_identical(found.load(), expected.load())
    with pytest.raises(ValueError, match="Did you mean 'dog'"):
        open_segmentations(nouns="dogs", bucket=tiny)
    with pytest.raises(ValueError, match="Unknown image"):
        open_segmentations("nothing.jpg", bucket=tiny)


def test_masks_of_a_noun_are_joined(tiny: Path) -> None:
    """The same of lazy and of loaded masks, and of none."""
    found, (rows, masks) = open_segmentations("shared", bucket=tiny), oracle(tiny)
    joined = union_masks(found)
    assert joined["masks"].chunks
    for one in (joined.load(), union_masks(found.load())):
        for number in range(one.sizes["mask"]):
            pair = str(one["image"].values[number]), str(one["noun"].values[number])
            of_pair = [int(row["mask_row"]) for row in rows if (row["image_name"], row["noun"]) == pair]
            assert np.array_equal(one["masks"].values[number], masks[of_pair].max(axis=0))
            assert one["n_masks"].values[number] == len(of_pair)
    assert int(joined["n_masks"].max()) == 2
    assert union_masks(found.isel(mask=slice(0))).sizes["mask"] == 0


def test_only_the_chosen_masks_are_read_once_the_index_is_known(counted: str, tiny: Path) -> None:
    """The index is made once in a process; a second opening reads the chosen chunks and the head."""
    name = Path(FILE).name
    CountingFileSystem.read.clear()
    found = open_segmentations(bucket=counted).isel(mask=[3, 7, 11])
    head = CountingFileSystem.read[name]
    assert head <= 64 * 1024
    found.load()
    CountingFileSystem.read.clear()
    again = open_segmentations(bucket=counted).isel(mask=[3, 7, 11]).load()
    with h5py.File(tiny / FILE) as file:
        sizes = [file["masks"].id.get_chunk_info(row).size for row in again["mask"].values]
    assert CountingFileSystem.read[name] == head + sum(sizes)
    xr.testing.assert_equal(again, found)


def test_every_way_in(tiny: Path, s3: Any, tmp_path: Path) -> None:
    expected = open_segmentations("ood", bucket=tiny).load()
    found = open_segmentations("ood", bucket=s3.url, storage_options=s3.storage_options)
    xr.testing.assert_equal(pickle.loads(pickle.dumps(found)).load(), expected)
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    mirror_bucket(tmp_path / "mirror", kinds=["segmentations", "stimulus_table"], subjects=None, **where)
    offline = open_segmentations("ood", mirror=tmp_path / "mirror", mirror_only=True)
    xr.testing.assert_equal(offline.load(), expected)
    xr.testing.assert_identical(open_catalog(bucket=str(tiny)).segmentations(images="ood").read(), expected)
    read = SegmentationsReader(SegmentationsData(str(tiny)), images="ood").read()
    xr.testing.assert_identical(read.load(), expected)


def changed(bucket: Path, change: Callable[[h5py.File], None]) -> None:
    content = io.BytesIO((bucket / FILE).read_bytes())
    with h5py.File(content, "a") as file:
        change(file)
    (bucket / FILE).write_bytes(content.getvalue())


def fewer(file: h5py.File) -> None:
    values = file["masks"][:5]
    del file["masks"]
    file["masks"] = values


def missing_chunk(file: h5py.File) -> None:
    masks = file["masks"][:]
    del file["masks"]
    file.create_dataset("masks", masks.shape, np.uint8, chunks=(1, *masks.shape[1:]))[1:] = masks[1:]


@pytest.mark.parametrize(("change", "message"), [(fewer, "mask_row below 5"), (missing_chunk, "expected .* chunks")])
def test_a_file_that_lies_is_refused(own_tiny: Path, change: Callable[[h5py.File], None], message: str) -> None:
    changed(own_tiny, change)
    with pytest.raises(DataIntegrityError, match=message):
        open_segmentations(bucket=own_tiny).load()


def test_what_there_is_not_is_said(own_tiny: Path) -> None:
    (own_tiny / TABLE).write_text("mask_row,image_name\n")
    with pytest.raises(DataIntegrityError, match="expected the columns"):
        open_segmentations(bucket=own_tiny)
    (own_tiny / FILE).unlink()
    with pytest.raises(NotInBucketError, match=r"segmentations\.h5"):
        open_segmentations(bucket=own_tiny)
