"""A store that somebody else has made: it is refused in few words and little memory, and nothing outside it is read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiers import sampled

from intake_laion_fmri import build_store, open_betas
from intake_laion_fmri.building.verify import verify_store
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.store.coordinates import decode
from intake_laion_fmri.store.metadata import CHECKSUM, STORE, group_metadata

GROUP = "sub-01/ses-01"


@pytest.fixture(scope="module")
def built(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "store"
    build_store(folder, bucket=tiny, subjects="sub-01", sessions=1, roi="face", codec="zstd")
    return folder


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "store"))


def change(store: Path, how: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]) -> None:
    """Change attributes, arrays and record of the session, and make the checksum good."""
    path = store / GROUP / "zarr.json"
    metadata = json.loads(path.read_bytes())
    attributes, arrays = metadata["attributes"], metadata["consolidated_metadata"]["metadata"]
    del attributes[CHECKSUM]
    told = json.loads(attributes[STORE])
    how(attributes, arrays, told)
    path.write_bytes(group_metadata({**attributes, STORE: json.dumps(told)}, arrays))


def replace(store: Path, key: str, content: bytes) -> None:
    """Replace an object, and make its sum good."""
    (store / GROUP / key).write_bytes(content)

    def record(_: Any, __: Any, told: dict[str, Any]) -> None:
        told["objects"][key] = hashlib.sha256(content).hexdigest()
        told["sizes"][key] = len(content)

    change(store, record)


def expect_refused(store: Path) -> None:
    with pytest.raises(DataIntegrityError) as caught:
        open_betas("sub-01", session=1, store=store, roi="face").load()
    assert len(str(caught.value)) < 2000
    (found,) = verify_store(store, sessions=1)
    assert found.status == "damaged"


def shapes(array: str, shape: Any) -> Callable[..., object]:
    return lambda attributes, arrays, told: arrays[array].__setitem__("shape", shape)


def types(array: str, kind: Any) -> Callable[..., object]:
    return lambda attributes, arrays, told: arrays[array].__setitem__("data_type", kind)


def attribute(name: str, value: Any) -> Callable[..., object]:
    return lambda attributes, arrays, told: attributes.__setitem__(name, value)


def recorded(name: str, value: Any) -> Callable[..., object]:
    return lambda attributes, arrays, told: told.__setitem__(name, value)


def named(key: str) -> Callable[..., object]:
    return lambda attributes, arrays, told: told["objects"].__setitem__(key, "0" * 64)


def all_trials(n: int) -> Callable[..., object]:
    """Say everywhere that there are so many trials."""

    def how(attributes: Any, arrays: dict[str, Any], told: Any) -> None:
        for metadata in arrays.values():
            for at, dim in enumerate(metadata.get("dimension_names") or ()):
                if dim == "trial":
                    metadata["shape"][at] = n
                    metadata["chunk_grid"]["configuration"]["chunk_shape"][at] = n
        inner = arrays["betas"]["codecs"][0]["configuration"]
        if "chunk_shape" in inner:
            inner["chunk_shape"][0] = n

    return how


CHANGES: dict[str, Callable[..., object]] = {
    **{f"label of {shape}": shapes("label", shape) for shape in ([10**12], [-1], [True], [], "x", None, [2**63])},
    **{f"betas of {shape}": shapes("betas", shape) for shape in ([10**12, 10**12], [-1, 5], [0, 0], None)},
    **{f"{n} trials": all_trials(n) for n in (10**6, 10**9, 2**62)},
    **{
        f"{array} of type {str(kind)[:20]}": types(array, kind)
        for array in ("run", "voxel", "betas")
        for kind in ("object", "V2000000000", "M8[ns]", "f4,f4", "S" * 100_000, ["int64"], {"name": "x"}, None)
    },
    **{
        f"{name} {str(value)[:20]}": attribute(name, value)
        for name, value in [
            ("grid_shape", [2**40, 2**40, 2**40]),
            ("grid_shape", [-1, 5, 5]),
            ("grid_shape", "abc"),
            ("affine", ["x"] * 16),
            ("sources", "[" * 100_000),
            ("sources", "{}"),
            ("sources", '[{"key": 1}]'),
        ]
    },
    **{
        f"recorded {name} {str(value)[:20]}": recorded(name, value)
        for name, value in [
            ("chunks", "AAAA" * 2),
            ("chunks", "/" * 64),
            ("chunks", None),
            ("objects", ["label/c/0"]),
            ("objects", {"label/c/0": 5}),
            ("left_out", {"sets": [["zz", 1, []]], "maps": []}),
            ("left_out", {"sets": [["00", -5, [1.0]]], "maps": ["nc_all"]}),
            ("left_out", {"sets": [[["x"], 1, []]], "maps": []}),
            ("sizes", {"label/c/0": -1}),
            ("tables", {"ses-01": 7}),
            ("tables", 7),
            ("options", []),
        ]
    },
    **{
        f"the object {key!r}": named(key)
        for key in ("../../../secret", "/etc/passwd", "label/../../x", "label/c/..", "")
    },
    "an array of another name": lambda attributes, arrays, told: arrays.__setitem__("../x", arrays["label"]),
}


@pytest.mark.parametrize("name", sampled(CHANGES, keep=8))
def test_metadata_that_ask_for_too_much_are_refused(store: Path, name: str) -> None:
    change(store, CHANGES[name])
    expect_refused(store)


@pytest.mark.parametrize("content", sampled([b"[" * 200_000, b'{"a":' * 100_000, b"9" * 100_000, b"", b"null"], keep=1))
@pytest.mark.parametrize("group", ["", "sub-01", GROUP])
def test_metadata_that_are_none_are_refused(store: Path, group: str, content: bytes) -> None:
    (store / group / "zarr.json").write_bytes(content)
    with pytest.raises(DataIntegrityError, match="zarr"):
        open_betas("sub-01", session=1, store=store, roi="face")


@pytest.mark.parametrize("group", ["", "sub-01", GROUP])
def test_metadata_of_no_end_are_not_read(store: Path, group: str) -> None:
    with (store / group / "zarr.json").open("rb+") as file:
        file.truncate(2**40)  # takes no room
    with pytest.raises(DataIntegrityError, match="expected at most"):
        open_betas("sub-01", session=1, store=store, roi="face")


FRAME = b"\x28\xb5\x2f\xfd"
CONTENTS = {
    "a frame of an exabyte": FRAME + b"\xe0" + (2**60).to_bytes(8, "little") + b"\x01\x00\x00",
    "a frame of 4 GB": FRAME + b"\xa0" + (2**32 - 1).to_bytes(4, "little") + b"\x01\x00\x00",
    "a frame without its size": FRAME + b"\x00\x58\x01\x00\x00",
    "a frame that ends": FRAME + b"\xe0\x01",
    "a frame of rubbish": FRAME + b"\x20\x05rubbish",
    "no frame": b"rubbish",
    "nothing": b"",
}


@pytest.mark.parametrize("array", ["label", "run", "voxel"])
@pytest.mark.parametrize("name", sampled(CONTENTS, keep=2))
def test_coordinates_that_unpack_to_too_much_are_refused(store: Path, array: str, name: str) -> None:
    replace(store, f"{array}/c/0", CONTENTS[name] + b"1234")  # and their checksum, which is not looked at
    with pytest.raises(DataIntegrityError, match=f"{array}/c/0"):
        open_betas("sub-01", session=1, store=store, roi="face")


@pytest.mark.parametrize(
    "content", [b"\xff\xff\xff\x7f", b"\x02\x00\x00\x00\x01\x00\x00\x00a", b"", b"\x01\x00\x00\x00" * 2]
)
def test_texts_that_are_fewer_than_they_say_are_refused(content: bytes) -> None:
    for shape in ([2**31 - 1], [2]):
        with pytest.raises((ValueError, TypeError)):
            decode({"shape": shape, "data_type": "string", "codecs": []}, content)


def test_nothing_outside_a_store_is_read(store: Path, built: Path) -> None:
    """Links that lead there are named, even to the very content that was written."""
    for name in ("label/c/0", "betas/c/0/0", "betas", "label"):
        path, original = store / GROUP / name, built / GROUP / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(original)
        (found,) = verify_store(store, sessions=1)
        assert (found.status, "leads out of the store" in found.detail) == ("damaged", True), name
        path.unlink()
        shutil.copytree(original, path) if original.is_dir() else shutil.copy(original, path)
    (found,) = verify_store(store, sessions=1)
    assert found.status == "ok"
    shutil.move(store / GROUP, store.with_name("elsewhere"))
    (store / GROUP).symlink_to(store.with_name("elsewhere"))
    (found,) = verify_store(store, sessions=1)
    assert found.status == "damaged"
