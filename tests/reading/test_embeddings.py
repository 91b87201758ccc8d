"""Embeddings: joined by label whatever the order of the file, lazily, and in few requests."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem

from intake_laion_fmri import layout, open_betas, open_catalog, open_embeddings, open_stimulus_table, open_trials
from intake_laion_fmri.axes.labels import parse_label
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.mirror.run import mirror_bucket
from intake_laion_fmri.readers import EmbeddingsData, EmbeddingsReader
from intake_laion_fmri.remote import requests
from intake_laion_fmri.remote.access import ObjectInfo, open_bucket
from intake_laion_fmri.remote.cache import SmallFileCache, cache_info

MODELS = ["CLIP", "DINOv2", "PEcore", "SigLIP2"]
ARCHIVE = "archive/embeddings/v1"


def path_of(bucket: Path, model: str, folder: str = "stimuli") -> Path:
    return bucket / folder / f"task-images_desc-{model}_embeddings.h5"


def oracle(path: Path) -> dict[str, np.ndarray]:
    """Read a file by h5py alone: label → embedding."""
    with h5py.File(path) as file:
        return dict(zip(file["image_ids"].asstr()[:], file["embedding"][:], strict=True))


@pytest.mark.parametrize("version", [None, "v1", ARCHIVE])
@pytest.mark.parametrize("model", MODELS)
def test_rows_are_those_of_the_file_by_label(tiny: Path, model: str, version: str | None) -> None:
    """The file is in an order of its own; the axis is the stimulus table's."""
    found = open_embeddings(model, version=version, bucket=tiny)
    expected = oracle(path_of(tiny, model, "stimuli" if version is None else ARCHIVE))
    assert found["image"].values.tolist() == open_stimulus_table(bucket=tiny).index.tolist() != list(expected)
    assert found["embedding"].dtype == np.float16
    assert np.array_equal(found["embedding"].values, np.stack([expected[label] for label in found["image"].values]))
    assert found["valid"].values.all()
    assert found["model"] == model


def test_a_selection_keeps_order_and_repeats(tiny: Path) -> None:
    """Repeated images are what h5py refuses to select."""
    expected, trials = oracle(path_of(tiny, "CLIP")), open_trials("sub-01", bucket=tiny)
    labels = trials["label"].tolist()
    odd = [label for label in expected if " " in label or "%" in label]
    assert odd, "oddly named images are in the demo"
    for images in (labels, trials, labels[::-1], odd):
        found = open_embeddings("CLIP", images, bucket=tiny)
        names = list(images["label"]) if images is trials else list(images)
        assert found["image"].values.tolist() == names
        assert np.array_equal(found["embedding"].values, np.stack([expected[name] for name in names]))
    shared = open_embeddings("CLIP", "shared", bucket=tiny)["image"].values
    assert all(parse_label(label).shared for label in shared)


def test_betas_meet_their_embeddings(tiny: Path) -> None:
    """By `images=` and by `xr.align`: the same rows, of averaged betas and of trials."""
    betas = open_betas("sub-01", roi="FFA1", bucket=tiny)
    average = betas.laion.average()
    expected = oracle(path_of(tiny, "CLIP"))
    chosen = open_embeddings("CLIP", average, bucket=tiny)
    left, right = xr.align(average, open_embeddings("CLIP", bucket=tiny), join="inner")
    assert left["image"].values.tolist() == right["image"].values.tolist()
    assert set(left["image"].values) == set(chosen["image"].values) == set(betas["label"].values)
    assert chosen["image"].values.tolist() == average["image"].values.tolist()
    for found in (chosen, right):
        rows = [expected[label] for label in found["image"].values]
        assert np.array_equal(found["embedding"].values, np.stack(rows))
    assert open_embeddings("CLIP", betas, bucket=tiny).sizes["image"] == betas.sizes["trial"]


def test_a_ridge_predicts_betas(small: Path) -> None:
    """The demo's embeddings are a linear map of what drives its ROIs; ten lines with scikit-learn."""
    from sklearn.linear_model import RidgeCV

    betas = open_betas("sub-01", roi="face", bucket=small).laion.zscore().laion.average().compute()
    x = open_embeddings("DINOv2", betas, bucket=small)["embedding"].values.astype(np.float64)
    y = betas["betas"].mean("voxel").values
    test = np.arange(len(y)) % 4 == 0
    predicted = RidgeCV(np.logspace(-1, 4, 12)).fit(x[~test], y[~test]).predict(x[test])
    assert np.corrcoef(predicted, y[test])[0, 1] > 0.4


def rewritten(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Write a file anew with something changed."""
    content = io.BytesIO(path.read_bytes())
    with h5py.File(content, "a") as file:
        change(file)
    path.write_bytes(content.getvalue())


def shortened(file: h5py.File) -> None:
    for name in ("embedding", "image_ids", "valid"):
        values = file[name][3:]
        del file[name]
        file.create_dataset(name, data=values, dtype=h5py.string_dtype() if name == "image_ids" else None)
    file["valid"][0] = False


def test_an_image_that_the_file_lacks_is_nan_and_not_valid(own_tiny: Path) -> None:
    path = path_of(own_tiny, "CLIP")
    before = oracle(path)
    rewritten(path, shortened)
    found = open_embeddings("CLIP", bucket=own_tiny).compute()
    missing = [label for label in before if label not in oracle(path)]
    assert len(missing) == 3
    assert np.isnan(found["embedding"].sel(image=missing)).all()
    assert not found["valid"].sel(image=missing).any()
    assert int((~found["valid"]).sum()) == 4, "one more that the file says is not valid"
    assert np.array_equal(
        found["embedding"].drop_sel(image=missing),
        [before[label] for label in found["image"].values if label not in missing],
    )


def test_without_a_stimulus_table_the_labels_are_the_files(own_tiny: Path) -> None:
    (own_tiny / layout.STIMULUS_METADATA).unlink()
    found = open_embeddings("CLIP", bucket=own_tiny)
    assert found["image"].values.tolist() == list(oracle(path_of(own_tiny, "CLIP")))
    assert open_embeddings("CLIP", "shared", bucket=own_tiny)["valid"].values.all()


def test_opening_reads_the_head_and_computing_the_file_once(counted: str, tiny: Path) -> None:
    name, size = path_of(tiny, "CLIP").name, path_of(tiny, "CLIP").stat().st_size
    CountingFileSystem.read.clear()
    found = open_embeddings("CLIP", "shared", bucket=counted)
    assert CountingFileSystem.read[name] <= 64 * 1024
    head = CountingFileSystem.read[name]
    found.compute()
    assert CountingFileSystem.read[name] == head + size


def test_every_way_in(tiny: Path, s3: Any, tmp_path: Path) -> None:
    """From S3 anonymously, from the cache, from a mirror offline, through both generations of Intake, pickled."""
    expected = open_embeddings("PEcore", "ood", bucket=tiny).compute()
    with s3.requests() as seen:
        found = open_embeddings("PEcore", "ood", bucket=s3.url, storage_options=s3.storage_options)
        xr.testing.assert_identical(found.drop_attrs().compute(), expected.drop_attrs())
    assert sum(seen.values()) <= 6
    before = cache_info().n_files
    xr.testing.assert_equal(pickle.loads(pickle.dumps(found)).compute(), expected)
    assert cache_info().n_files == before > 0
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    mirror_bucket(tmp_path / "mirror", kinds=["embeddings", "stimulus_table"], subjects=None, **where)
    offline = open_embeddings("PEcore", "ood", mirror=tmp_path / "mirror", mirror_only=True)
    xr.testing.assert_equal(offline.compute(), expected)
    catalog = open_catalog(bucket=str(tiny))
    xr.testing.assert_identical(catalog.embeddings(model="PEcore", images="ood").read(), expected)
    read = EmbeddingsReader(EmbeddingsData(str(tiny)), model="PEcore", images="ood").read()
    xr.testing.assert_identical(read.compute(), expected)


def test_a_large_object_comes_in_eight_parts_at_once(tiny: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put together in order, and of the version that was listed."""
    monkeypatch.setattr(requests, "LEAST_PART_BYTES", 100)
    bucket = open_bucket(s3.url, s3.storage_options)
    key = layout.key("embeddings", model="SigLIP2")
    info = bucket.find("stimuli")[key]
    with s3.requests() as seen:
        content = bucket.requests.read_whole(info)
    assert content == (tiny / key).read_bytes()
    assert sum(seen.values()) == 8
    with pytest.raises(DataIntegrityError, match="was replaced"):
        bucket.requests.read_whole(replace(info, etag="0" * 32))


def test_images_that_were_given_to_one_user_are_never_kept(tmp_path: Path) -> None:
    """A cache may be read by others; even where a bucket of one's own gives them to all."""
    cache = SmallFileCache(tmp_path, 1000)
    for key in (layout.GATED, layout.STIMULUS_METADATA):
        assert cache.read(ObjectInfo(key, 1, "etag"), key, lambda info: b"x") == b"x"
    assert cache.get(layout.GATED) is None
    assert cache.get(layout.STIMULUS_METADATA) == b"x"


def group_instead(file: h5py.File) -> None:
    del file["valid"]
    file.create_group("valid")


def linked(file: h5py.File) -> None:
    del file["embedding"]
    file["embedding"] = h5py.ExternalLink("/etc/passwd", "/embedding")


def twice(file: h5py.File) -> None:
    file["image_ids"][1] = file["image_ids"][0]


def uneven(file: h5py.File) -> None:
    del file["valid"]
    file["valid"] = np.ones(3, dtype=bool)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (group_instead, "found a group"),
        (linked, "found a link"),
        (twice, "each image once"),
        (uneven, "one entry per embedding"),
    ],
)
def test_a_file_that_lies_is_refused(own_tiny: Path, change: Callable[[h5py.File], None], message: str) -> None:
    rewritten(path_of(own_tiny, "CLIP"), change)
    with pytest.raises(DataIntegrityError, match=rf"CLIP_embeddings\.h5.*{message}"):
        open_embeddings("CLIP", bucket=own_tiny).compute()


def test_a_truncated_file_is_one_error(own_tiny: Path) -> None:
    path = path_of(own_tiny, "CLIP")
    content = path.read_bytes()
    for n in np.linspace(0, len(content) - 1, 20).astype(int):
        path.write_bytes(content[:n])
        with pytest.raises(DataIntegrityError, match=r"CLIP_embeddings\.h5: expected a complete HDF5 file"):
            open_embeddings("CLIP", bucket=own_tiny)


def test_what_there_is_not_is_said(own_tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown model .*'Clip'.* Did you mean 'CLIP'"):
        open_embeddings("Clip", bucket=own_tiny)
    with pytest.raises(ValueError, match=r"Unknown version .*'v9'.* Valid: v1"):
        open_embeddings(version="v9", bucket=own_tiny)
    with pytest.raises(ValueError, match="Unknown image of"):
        open_embeddings(images=["shared_4rep_NSD_none.jpg"], bucket=own_tiny)
    shutil.rmtree(own_tiny / "archive")
    for model in MODELS:
        path_of(own_tiny, model).unlink()
    with pytest.raises(NotInBucketError, match=r"CLIP_embeddings\.h5"):
        open_embeddings(bucket=own_tiny)
    with pytest.raises(NotInBucketError, match=r"archive/embeddings/v1"):
        open_embeddings(version="v1", bucket=own_tiny)
