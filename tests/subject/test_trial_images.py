"""The images under the names of the data set's own package, against h5py and Pillow."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import plain_arrays as oracle
import pytest
from demo_files import as_shown, encoded_images
from PIL import Image

import intake_laion_fmri
from intake_laion_fmri import layout, load_subject
from intake_laion_fmri.errors import AccessDeniedError, StimuliNotDownloadedError
from intake_laion_fmri.remote.access import open_bucket
from intake_laion_fmri.stimuli import Stimuli, as_displayed_rgb, load_stimuli

FILE = "stimuli/task-images_stimuli.h5"
TABLE = "stimuli/task-images_metadata.csv"


def test_images_by_name_and_row(tiny: Path) -> None:
    expected = encoded_images(tiny)
    with load_stimuli(bucket=tiny) as stimuli:
        names = stimuli.names()
        assert names == list(expected)
        assert len(stimuli) == len(stimuli.images) == len(expected)
        assert dict(stimuli) == dict(stimuli.images) == expected
        row = next(row for row, name in enumerate(names) if name.endswith(".png"))
        for key in (row, names[row], np.int64(row)):
            assert stimuli.images[key] == stimuli[key] == expected[names[row]]
            np.testing.assert_array_equal(np.asarray(stimuli.get(key)), as_shown(expected[names[row]]))
            assert key in stimuli
        assert stimuli.images.get(row, as_displayed=False).mode == "RGBA"
        assert stimuli.index_of(names[row]) == row
        table = pd.read_csv(tiny / TABLE, keep_default_na=False, dtype=object)
        pd.testing.assert_frame_equal(stimuli.metadata.astype(object), table, check_dtype=False)
        assert "nothing" not in stimuli
        assert len(names) not in stimuli.images
        for wrong, error in (("nothing", KeyError), (len(names), IndexError), (-1, IndexError), (1.5, TypeError)):
            with pytest.raises(error):
                stimuli.images[wrong]  # type: ignore[index]


def test_the_images_of_trials(tiny: Path) -> None:
    """By the row of the metadata: repeats are the same image."""
    sub, expected = load_subject("sub-03", bucket=tiny), encoded_images(tiny)
    labels = sub.metadata["image_name"].tolist()
    assert len(sub.images) == len(labels)
    for trial in (0, 5, -1):
        assert sub.images[trial] == expected[labels[trial]]
        np.testing.assert_array_equal(np.asarray(sub.images.get(trial)), as_shown(expected[labels[trial]]))
    of_session = sub.metadata[sub.metadata["session"] == "ses-02"]["image_name"].tolist()
    array = sub.images.array("ses-02")
    assert (array.shape, array.dtype) == ((len(of_session), 48, 48, 3), np.uint8)
    for found, picture, label in zip(array, sub.images.all(2), of_session, strict=True):
        np.testing.assert_array_equal(found, as_shown(expected[label]))
        np.testing.assert_array_equal(found, np.asarray(picture))
    assert len(list(sub.images.all())) == len(labels)
    assert [expected[labels[k]] for k in sub.metadata.index[:3]] == [sub.images[k] for k in range(3)]
    with pytest.raises(IndexError, match="expected a row of metadata"):
        sub.images[len(labels)]
    with pytest.raises(ValueError, match="Unknown session"):
        sub.images.array("ses-09")


def test_without_images(own_tiny: Path, s3: Any) -> None:
    """The table alone is enough for the metadata; the images say where they are asked for."""
    (own_tiny / FILE).unlink()
    sub = load_subject("sub-01", bucket=own_tiny)
    assert len(sub.images) == len(sub.metadata)
    with pytest.raises(StimuliNotDownloadedError, match=layout.REQUEST_URL):
        sub.images[0]
    with pytest.raises(intake_laion_fmri.StimuliNotDownloadedError):
        Stimuli(bucket=open_bucket(own_tiny))
    with pytest.raises(StimuliNotDownloadedError, match=layout.REQUEST_URL):
        load_stimuli(own_tiny, mirror_only=True)
    with pytest.raises(AccessDeniedError, match=layout.REQUEST_URL):
        load_stimuli(bucket=s3.url, storage_options=s3.storage_options)


def test_items_for_torch(tiny: Path, own_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the data set's own package has them; torch stands for itself with the one function that is called."""
    sub = load_subject("sub-01", bucket=tiny)
    items = sub.to_torch_dataset("ses-02", roi="face", image_transform=lambda image: image[::-1])
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="torch"):
        items[0]
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(from_numpy=lambda array: array))
    labels, pictures = oracle.labels(tiny, "ses-02").tolist(), encoded_images(tiny)
    betas = oracle.betas(tiny, "ses-02", oracle.roi(tiny, ["FFA1", "FFA2", "OFA", "pSTSfaces"]))
    assert len(items) == len(labels)
    for n in (0, 17, len(labels) - 1):
        item = items[n]
        assert list(item) == ["betas", "image", "image_name", "session", "rep_index"]
        np.testing.assert_array_equal(item["betas"], betas[n])
        shown = np.asarray(as_shown(pictures[labels[n]]), dtype=np.float32) / 255
        np.testing.assert_array_equal(item["image"][::-1], shown.transpose(2, 0, 1))
        assert item["image"].dtype == np.float32
        assert (item["image_name"], item["session"]) == (labels[n], "ses-02")
        assert item["rep_index"] == labels[:n].count(labels[n])
    with pytest.raises(IndexError, match=f"No item {len(labels)}"):
        items[len(labels)]
    with pytest.raises(ValueError, match="expected a single session"):
        sub.to_torch_dataset("all")
    (own_tiny / FILE).unlink()
    with pytest.raises(StimuliNotDownloadedError, match=layout.REQUEST_URL):
        load_subject("sub-01", bucket=own_tiny).to_torch_dataset(1)[0]


def test_a_folder_is_read_first(tiny: Path, s3: Any) -> None:
    """The images are there, and not in the bucket, as for everybody who was given them."""
    expected = encoded_images(tiny)
    with load_stimuli(tiny, bucket=s3.url, storage_options=s3.storage_options) as stimuli:
        assert stimuli[0] == expected[stimuli.names()[0]]
    with load_stimuli(tiny, mirror_only=True) as stimuli:
        assert dict(stimuli) == expected


def test_as_displayed() -> None:
    picture = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert np.asarray(as_displayed_rgb(picture)).tolist() == [[[128] * 3] * 2] * 2
