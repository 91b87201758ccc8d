"""Map-style datasets and tables: the protocol that torch's DataLoader uses, without torch."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from demo_files import as_shown, encoded_images

from intake_laion_fmri import open_betas, open_embeddings, open_stimuli
from intake_laion_fmri.export.items import Items
from intake_laion_fmri.reading.some_rows import LazyRows
from intake_laion_fmri.reading.stimuli import image_file


@pytest.fixture(scope="module")
def lazy(tiny: Path, tiny_store: Path) -> xr.Dataset:
    """Lazy betas of a store without a hole."""
    return open_betas("sub-01", roi="face", store=tiny_store, bucket=tiny).laion.finite()


@pytest.fixture(scope="module")
def eager(lazy: xr.Dataset) -> xr.Dataset:
    return lazy.compute()


@pytest.fixture(scope="module")
def images(tiny: Path) -> xr.Dataset:
    return open_stimuli("sub-01", bucket=tiny)


SHUFFLED = [7, 130, 7, 0, 64, -1, 90]


def batch_of(items: Items, indices: list[int]) -> list[dict[str, Any]]:
    """In a worker."""
    return items.__getitems__(indices)


@pytest.mark.parametrize("source", ["lazy", "eager"])
def test_items(source: str, request: pytest.FixtureRequest, eager: xr.Dataset, images: xr.Dataset, tiny: Path) -> None:
    items = request.getfixturevalue(source).laion.to_torch(images)
    pictures = encoded_images(tiny)
    assert len(items) == eager.sizes["trial"]
    for n, item in zip(SHUFFLED, items.__getitems__(SHUFFLED), strict=True):
        expected = eager.isel(trial=n)
        label = str(expected["label"].values)
        assert list(item) == ["betas", "label", "trial", "image"]
        np.testing.assert_array_equal(item["betas"], expected["betas"].values)
        assert (item["betas"].dtype, item["betas"].flags.c_contiguous) == (np.float32, True)
        assert (item["label"], item["trial"]) == (label, int(expected["trial"]))
        np.testing.assert_allclose(item["image"], np.asarray(as_shown(pictures[label])), atol=3)
        alone = items[n]
        np.testing.assert_array_equal(alone["image"], item["image"])
        np.testing.assert_array_equal(alone["betas"], item["betas"])
    assert repr(items) == f"<135 items of {eager.sizes['voxel']} betas, with images>"


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_items_in_workers(lazy: xr.Dataset, images: xr.Dataset, how: str) -> None:
    """After the parent has read, too: nothing that it holds is waited for, and a worker has its own blocks."""
    items = lazy.laion.to_torch(images)
    before = items.__getitems__(SHUFFLED[:2])
    with multiprocessing.get_context(how).Pool(1) as pool:
        found = pool.apply_async(batch_of, (items, SHUFFLED)).get(timeout=60)
    for one, other in zip(found, [*before, *items.__getitems__(SHUFFLED[2:])], strict=True):
        assert one["trial"] == other["trial"]
        np.testing.assert_array_equal(one["betas"], other["betas"])
        np.testing.assert_array_equal(one["image"], other["image"])


def test_a_batch_is_read_once(lazy: xr.Dataset, images: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image of it is decoded once, no other of its block, and sessions are kept."""
    decoded = image_file.decode
    names: list[str] = []
    monkeypatch.setattr(image_file, "decode", lambda *args, **kw: names.append(kw["name"]) or decoded(*args, **kw))
    labels = [str(lazy["label"].values[n]) for n in SHUFFLED]
    betas = lazy["betas"].data
    rows = LazyRows(betas, 2**30)
    items = lazy.laion.to_torch(images)
    items.__getitems__(SHUFFLED)
    items.__getitems__(SHUFFLED)
    assert len(names) == 2 * len(set(labels))
    rows.take(np.array([0, 1]))
    rows.take(np.array([1, 134]))
    assert sorted(rows._kept) == [0, 2]
    small = LazyRows(betas, 1)
    small.take(np.array([0, 134]))
    assert list(small._kept) == [2]


def test_nothing_of_torch_is_needed(tiny: Path) -> None:
    code = (
        "import sys\nfrom intake_laion_fmri import open_betas\nsys.modules['torch'] = None\n"
        "ds = open_betas('sub-01', roi='FFA1', bucket=sys.argv[1]).load().laion.finite()\n"
        "print(len(ds.laion.to_torch().__getitems__([0, 1])))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, tiny], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_other_things_than_trials_and_pictures(eager: xr.Dataset, tiny: Path) -> None:
    """Averaged betas with features, and a transform of each kind."""
    averaged = eager.laion.average()
    features = open_embeddings("CLIP", bucket=tiny)
    item = pickle.loads(pickle.dumps(averaged.laion.to_torch(features)))[3]
    assert list(item) == ["betas", "label", "image"]
    label = str(averaged["image"].values[3])
    np.testing.assert_array_equal(item["image"], features["embedding"].sel(image=label).values)
    np.testing.assert_array_equal(eager.laion.to_torch(transform=np.negative)[1]["betas"], -eager["betas"].values[1])
    assert eager.laion.to_torch(features, transform=np.size)[1]["image"] == features.sizes["feature"]
    in_memory = open_stimuli("sub-01", size=8, bucket=tiny).compute()
    assert eager.laion.to_torch(in_memory["images"])[2]["image"].shape == (8, 8, 3)


def test_what_is_slow_is_told(tiny: Path, eager: xr.Dataset) -> None:
    with pytest.warns(UserWarning, match="each worker decompresses every session") as told:
        open_betas("sub-01", roi="face", bucket=tiny).laion.to_torch()
    with pytest.warns(UserWarning, match="Blocks of up to 24 images are decoded to read a single image") as also:
        items = eager.laion.to_torch(open_stimuli(eager, bucket=tiny))
    assert {Path(one.filename).name for one in [*told, *also]} == {Path(__file__).name}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        once = eager.laion.to_torch(open_stimuli(np.unique(eager["label"]), bucket=tiny))
    np.testing.assert_array_equal(items[5]["image"], once[5]["image"])


def test_values_that_are_missing(tiny: Path) -> None:
    holes = open_betas("sub-01", bucket=tiny).load()
    with pytest.raises(ValueError, match=r"Item 0, 'shared_4rep_OOD.*': \d+ of 363 betas are not finite.*finite\(\)"):
        holes.laion.to_torch()[0]
    expected = holes["betas"].values[0]
    np.testing.assert_array_equal(holes.laion.to_torch(nan="keep")[0]["betas"], expected)
    np.testing.assert_array_equal(holes.laion.to_torch(nan="zero")[0]["betas"], np.nan_to_num(expected))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ds, _: ds.isel(trial=slice(0, 0)).laion.to_torch(), ValueError, r"found 0 trials"),
        (lambda ds, _: ds.isel(voxel=slice(0, 0)).laion.to_torch(), ValueError, r"and 0 voxels"),
        (lambda ds, _: ds.drop_vars("betas").laion.to_torch(), ValueError, "the variable 'betas'"),
        (lambda ds, _: ds.betas.laion.to_torch(), ValueError, "the variable 'betas'"),
        (lambda ds, _: ds.laion.to_torch(nan="drop"), ValueError, "'drop'.*raise"),
        (lambda ds, _: ds.laion.to_torch(keep_bytes="2 GB"), ValueError, "'2 GB': expected a number of bytes"),
        (lambda ds, _: ds.laion.to_torch()[135], IndexError, "No item 135: expected an index from 0 to 134"),
        (lambda ds, _: ds.laion.to_torch()[-136], IndexError, "No item -136"),
        (lambda ds, _: ds.laion.to_torch()[1.5], TypeError, "float"),
        (
            lambda ds, im: ds.laion.to_torch(im.isel(image=slice(0, 20))),
            ValueError,
            r"\d+ images of the betas are missing in images=: ",
        ),
        (lambda ds, im: ds.laion.to_torch(im.drop_vars("image")), ValueError, "one array with the index image"),
        (lambda ds, _: ds.laion.to_torch(ds), ValueError, "one array with the index image, .* found 0"),
    ],
)
def test_what_is_no_item(
    eager: xr.Dataset, images: xr.Dataset, call: Callable[..., Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(eager, images)


def test_a_transform_that_fails(eager: xr.Dataset) -> None:
    """As it is, with the item named: also through a worker, whose traceback is text."""
    items = eager.laion.to_torch(transform=lambda betas: betas[1000])
    with pytest.raises(IndexError, match="out of bounds") as caught:
        items.__getitems__([4, 5])
    assert caught.value.__notes__ == [f"raised by the transform, for item 4, {str(eager['label'].values[4])!r}"]


def test_long_form(eager: xr.Dataset) -> None:
    table = eager.laion.to_frame()
    np.testing.assert_allclose(table["betas"], eager["betas"].values.mean(axis=1), atol=1e-6)
    assert table["betas"].dtype == np.float32
    for name in ("trial", "session", "run", "label", "repetition", "dataset"):
        assert table[name].tolist() == eager[name].values.tolist()
    assert set(table["subject"]) == {"sub-01"}

    each = eager.laion.to_frame("each")
    assert len(each) == eager["betas"].size
    back = each.pivot(index="trial", columns="voxel", values="betas")
    np.testing.assert_array_equal(back.to_numpy(), eager["betas"].values)

    two = eager.laion.to_frame(rois=["FFA1", "face - FFA1"])
    assert two["roi"].unique().tolist() == ["FFA1", "face - FFA1"]
    inside = eager.laion.roi("FFA1")["betas"].values.mean(axis=1)
    np.testing.assert_allclose(two.loc[two["roi"] == "FFA1", "betas"], inside, atol=1e-6)
    assert eager.laion.average().laion.to_frame()["image"].is_unique
    assert {"image", "repetition"} <= set(eager.laion.repetitions(3).laion.to_frame().columns)


def test_long_form_with_holes(tiny: Path) -> None:
    holes = open_betas("sub-01", bucket=tiny)
    values = pd.DataFrame(holes["betas"].values)
    for nan, expected in (
        ("keep", values.mean(axis=1, skipna=False)),
        ("drop", values.mean(axis=1)),
        ("zero", values.fillna(0).mean(axis=1)),
    ):
        np.testing.assert_allclose(holes.laion.to_frame(nan=nan)["betas"], expected, atol=1e-5)
    assert len(holes.laion.to_frame("each", nan="drop")) == values.notna().to_numpy().sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.laion.to_frame("median"), "'median'"),
        (lambda ds: ds.laion.to_frame(nan="omit"), "'omit'"),
        (lambda ds: ds.laion.to_frame(rois="FFA1"), r"expected a list, such as \['FFA1'\]"),
        (lambda ds: ds.laion.to_frame(rois=["FFA9"]), "FFA9.*FFA1"),
        (lambda ds: ds.laion.to_frame(rois=["FFA1 & OFA"]), "FFA1 & OFA has no voxel"),
        (lambda ds: ds.drop_vars("betas").laion.to_frame(), "betas along voxel"),
        (lambda ds: ds.isel(voxel=[0] * 200_000).laion.to_frame("each"), "would make 27,000,000 rows"),
    ],
)
def test_what_is_no_table(eager: xr.Dataset, call: Callable[[xr.Dataset], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(eager)
