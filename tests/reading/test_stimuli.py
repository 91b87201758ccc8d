"""The images, against h5py and Pillow read by the tests alone."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import shutil
from pathlib import Path
from typing import Any

import dask
import h5py
import intake
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem
from demo_files import as_shown, encoded_images
from PIL import Image

from intake_laion_fmri import layout, open_betas, open_catalog, open_stimuli, open_trials
from intake_laion_fmri.catalog.files import V2_FILE
from intake_laion_fmri.catalog.inventory import catalog_folder
from intake_laion_fmri.demo.stimuli import pixels
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.reading.stimuli.image_file import ImageFile
from intake_laion_fmri.remote.access import open_bucket

FILE = "stimuli/task-images_stimuli.h5"
TABLE = "stimuli/task-images_metadata.csv"


def written(bucket: Path, images: dict[str, bytes]) -> None:
    """Put other images into a bucket, with a table of them."""
    lines = ["image_name,dataset,participant,unique_or_shared,n_reps", *(f"{name},NSD,,shared,4rep" for name in images)]
    (bucket / TABLE).write_text("\n".join(lines))
    with h5py.File(bucket / FILE, "w") as file:
        data = file.create_dataset("images", (len(images),), h5py.vlen_dtype(np.uint8))
        for row, content in enumerate(images.values()):
            data[row] = np.frombuffer(content, dtype=np.uint8)


def test_all_images_are_pillows(tiny: Path) -> None:
    """To the bit, in the order of the table, and as the demo has drawn them."""
    ds, expected = open_stimuli(bucket=tiny), encoded_images(tiny)
    assert ds.image.values.tolist() == list(expected)
    assert (ds.images.dims, ds.images.dtype) == (("image", "y", "x", "channel"), np.uint8)
    assert isinstance(ds.images.data, dask.array.Array)
    loaded = ds.load()
    for label, content in expected.items():
        found = loaded.images.sel(image=label).values
        np.testing.assert_array_equal(found, np.asarray(as_shown(content)))
        drawn = pixels(label).astype(int)
        if label.endswith(".png"):
            drawn = np.where(drawn[..., 3:] == 255, drawn[..., :3], 128)
        assert np.abs(found - drawn).mean() < (0.01 if label.endswith(".png") else 8)
    assert loaded.stimulus.values.tolist() == list(range(len(expected)))
    assert set(loaded.coords) == {"image", "stimulus", "dataset", "shared", "channel"}
    assert "data use agreement" in ds.attrs["license"]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_size_is_a_resampled_image(tiny: Path, mode: Any) -> None:
    ds = open_stimuli("shared", size=20, mode=mode, chunks={"image": 4}, bucket=tiny)
    assert set(ds.images.chunksizes["image"][:-1]) == {4}
    assert ("channel" in ds.coords) is (mode == "RGB")
    content = encoded_images(tiny)
    for label, found in zip(ds.image.values, ds.images.values, strict=True):
        expected = np.asarray(as_shown(content[label]).convert(mode).resize((20, 20), Image.Resampling.BICUBIC))
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).mean() < 4


def test_the_images_of_trials(tiny: Path, counted: str) -> None:
    """A row for each trial; repeats are read once; averaged betas join by their index."""
    ds = open_betas("sub-03", session=1, roi="FFA1", bucket=tiny)
    labels = ds.label.values.tolist()
    assert len(set(labels)) < len(labels)
    CountingFileSystem.read.clear()
    images = open_stimuli(ds, size=8, chunks=5, bucket=counted)
    assert images.image.values.tolist() == labels
    values, read = images.images.values, CountingFileSystem.read[Path(FILE).name]
    CountingFileSystem.read.clear()
    open_stimuli(list(dict.fromkeys(labels)), size=8, chunks=5, bucket=counted).load()
    assert CountingFileSystem.read[Path(FILE).name] == read
    first = {label: row for row, label in reversed(list(enumerate(labels)))}
    for row, label in enumerate(labels):
        np.testing.assert_array_equal(values[row], values[first[label]])
    averaged = ds.betas.compute().groupby("label").mean().rename(label="image")
    betas, pictures = xr.align(averaged, open_stimuli(bucket=tiny, size=8), join="inner")
    assert betas.image.values.tolist() == pictures.image.values.tolist()
    assert set(betas.image.values) == set(labels)
    table = open_trials("sub-03", session=1, bucket=tiny)
    assert open_stimuli(table, size=8, bucket=tiny).image.values.tolist() == labels


def test_only_what_is_chosen_is_read(own_tiny: Path, counted: str) -> None:
    """Opening reads the index; computing some images, these."""
    rng = np.random.default_rng(0)
    noise = {f"image {k}.png": rng.integers(0, 255, (250, 250, 3)).astype(np.uint8) for k in range(20)}
    encoded = {}
    for name, values in noise.items():
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        encoded[name] = file.getvalue()
    written(own_tiny, encoded)
    ds = open_stimuli(size=250, chunks=2, bucket=f"counted://{own_tiny}")
    name, size = Path(FILE).name, (own_tiny / FILE).stat().st_size
    assert CountingFileSystem.read[name] < size * 0.9
    before = CountingFileSystem.read[name]
    np.testing.assert_array_equal(ds.images[6:8], [noise["image 6.png"], noise["image 7.png"]])
    assert CountingFileSystem.read[name] - before == 2 * 32 + len(encoded["image 6.png"]) + len(encoded["image 7.png"])
    chosen = open_stimuli(["image 9.png", "image 2.png"], bucket=own_tiny)
    np.testing.assert_array_equal(chosen.images, [noise["image 9.png"], noise["image 2.png"]])


def _mean(ds: xr.Dataset, pipe: Any) -> None:
    pipe.send(float(ds.images.mean().compute(scheduler="synchronous")))


def test_it_pickles_and_forks_and_has_one_name(tiny: Path) -> None:
    """Blocks are descriptions: they go to workers, and into children of a process with threads."""
    ds = open_stimuli("shared", size=16, chunks=3, bucket=tiny)
    expected = float(ds.images.mean())
    assert ds.images.data.name == open_stimuli("shared", size=16, chunks=3, bucket=tiny).images.data.name
    assert ds.images.data.name != open_stimuli("shared", size=17, chunks=3, bucket=tiny).images.data.name
    assert float(pickle.loads(pickle.dumps(ds)).images.mean()) == expected
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_mean, args=(ds, sending))
    child.start()
    assert receiving.poll(60)
    assert receiving.recv() == expected
    child.join()


def test_every_way_in(tiny: Path, tmp_path: Path) -> None:
    """A Dataset as an argument is the labels in it, in a catalog that is saved too."""
    ds = open_betas("sub-01", session=1, roi="FFA1", bucket=tiny)
    expected = open_stimuli(ds, size=8, bucket=tiny)
    source = open_catalog(bucket=tiny).stimuli(images=ds, size=8)
    v2 = intake.from_yaml_file(str(catalog_folder() / V2_FILE))(bucket_url=str(tiny)).stimuli(images=ds, size=8)
    for found in (source.to_dask(), source.read(), pickle.loads(pickle.dumps(source)).to_dask(), v2.read()):
        xr.testing.assert_identical(found.compute(), expected.compute())
    (tmp_path / "saved.yaml").write_text(source.yaml())
    again = intake.open_catalog(str(tmp_path / "saved.yaml"))
    xr.testing.assert_identical(next(iter(again.values())).read(), expected.compute())


def test_the_published_bucket_refuses_them(s3: Any, tiny: Path, tmp_path: Path) -> None:
    """It says where to ask; a mirror that has the file is read, with the bucket and without."""
    given = {"bucket": s3.url, "storage_options": s3.storage_options}
    with pytest.raises(AccessDeniedError, match=rf"{FILE} cannot be read.*{layout.REQUEST_URL}.*stimuli get") as caught:
        open_stimuli(**given)
    assert isinstance(caught.value, PermissionError)
    (tmp_path / "stimuli").mkdir()
    shutil.copy(tiny / FILE, tmp_path / FILE)
    expected = open_stimuli(bucket=tiny).compute()
    xr.testing.assert_equal(open_stimuli(mirror=tmp_path, **given).compute(), expected)
    shutil.copy(tiny / TABLE, tmp_path / TABLE)
    xr.testing.assert_equal(open_stimuli(mirror=tmp_path, mirror_only=True).compute(), expected)
    (tmp_path / FILE).write_bytes((tiny / FILE).read_bytes()[:-1])
    with pytest.raises(DataIntegrityError, match="another version"):
        open_stimuli(mirror=tmp_path, **given)


def test_absent_images(own_tiny: Path) -> None:
    (own_tiny / FILE).unlink()
    with pytest.raises(NotInBucketError, match=rf"not in the bucket.*{layout.REQUEST_URL}"):
        open_stimuli(bucket=own_tiny)


def test_single_images(tiny: Path) -> None:
    """Pillow's own, as shown or with transparency, and the bytes."""
    file = ImageFile.from_bucket(open_bucket(tiny))
    for label, content in list(encoded_images(tiny).items())[:12]:
        assert file.encoded(label) == content
        assert file.get(label).tobytes() == as_shown(content).tobytes()
        assert file.get(label, displayed=False).mode == ("RGB" if label.endswith(".jpg") else "RGBA")
    with pytest.raises(ValueError, match="Unknown image"):
        file.get("nothing")


def test_broken_images(own_tiny: Path) -> None:
    """Each error names the image; what is around it can be read."""
    good = next(iter(encoded_images(own_tiny).values()))
    picture = Image.new("1", (5000, 5000))
    bomb = io.BytesIO()
    picture.save(bomb, "PNG")
    small = io.BytesIO()
    Image.new("RGB", (10, 12)).save(small, "PNG")
    images = {"good.jpg": good, "bomb.png": bomb.getvalue(), "cut.jpg": good[:-20], "small.png": small.getvalue()}
    written(own_tiny, {**images, "none.jpg": b""})
    assert open_stimuli("good.jpg", bucket=own_tiny).load().sizes["image"] == 1
    for label, problem in (
        ("bomb.png", "at most 16000000 pixels"),
        ("cut.jpg", "a complete picture"),
        ("none.jpg", "found nothing"),
        ("small.png", "expected 48 x 48 pixels, like the first image, found 12 x 10. Pass size="),
    ):
        with pytest.raises(DataIntegrityError, match=f"{FILE}: {label}: .*{problem}"):
            open_stimuli(["good.jpg", label], bucket=own_tiny).load()
    assert open_stimuli(["good.jpg", "small.png"], size=9, bucket=own_tiny).load().images.shape == (2, 9, 9, 3)


def test_a_file_that_is_not_of_its_table(own_tiny: Path) -> None:
    """Truncated, of another length, or replaced while it is open."""
    content = (own_tiny / FILE).read_bytes()
    ds = open_stimuli(bucket=own_tiny)
    (own_tiny / FILE).write_bytes(content[:-100])
    with pytest.raises(DataIntegrityError, match="was replaced"):
        ds.load()
    with pytest.raises(DataIntegrityError, match="expected a complete HDF5 file"):
        open_stimuli(bucket=own_tiny)
    (own_tiny / FILE).write_bytes(content)
    (own_tiny / TABLE).write_text((own_tiny / TABLE).read_text() + "more.jpg,NSD,,shared,4rep\n")
    with pytest.raises(DataIntegrityError, match="expected 30 images, one per row of the stimulus table, found 29"):
        open_stimuli(bucket=own_tiny)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"size": 0}, ValueError, "size=0: expected a number of pixels"),
        ({"size": "224"}, ValueError, "size='224'"),
        ({"mode": "rgb"}, ValueError, "Did you mean 'RGB'"),
        ({"chunks": 0}, ValueError, "chunks=0"),
        ({"chunks": {"voxel": 3}}, ValueError, "expected a number of images"),
        ({"images": "shraed"}, ValueError, "Unknown image"),
        ({"images": 3}, TypeError, "found a int"),
    ],
)
def test_wrong_arguments(tiny: Path, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        open_stimuli(bucket=tiny, **arguments)


def test_no_images_at_all(tiny: Path) -> None:
    assert open_stimuli([], bucket=tiny).load().images.shape == (0, 0, 0, 3)
    assert open_stimuli([], size=5, bucket=tiny).load().images.shape == (0, 5, 5, 3)
