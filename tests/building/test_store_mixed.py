"""A store whose parts do not belong together is neither read without a word nor called good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_files import trials_file
from tiers import sampled

from intake_laion_fmri import build_store, open_betas
from intake_laion_fmri.building.verify import verify_store
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.store.metadata import CHECKSUM, STORE, group_metadata


def correct_table(bucket: Path) -> None:
    """Give the first session a label of the second one: that one's presentation is a later one then."""
    first, second = (trials_file(bucket, "sub-01", session) for session in ("ses-01", "ses-02"))
    rows = first.read_text().splitlines()
    other = second.read_text().splitlines()
    column = rows[0].split("\t").index("label")
    cells = rows[1].split("\t")
    cells[column] = other[1].split("\t")[column]
    first.write_text("\n".join([rows[0], "\t".join(cells), *rows[2:]]) + "\n")


def found(store: Path, **given: Any) -> dict[str, tuple[str, str]]:
    return {one.session: (one.status, one.detail) for one in verify_store(store, **given)}


def test_repetitions_counted_from_an_older_table_are_noticed(own_tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build_store(store, bucket=own_tiny, subjects="sub-01", roi="face")
    correct_table(own_tiny)
    build_store(store, bucket=own_tiny, subjects="sub-01", sessions=1)
    for sessions in ("all", [1, 2], [1, 3]):
        with pytest.raises(DataIntegrityError, match=r"repetitions with another version of the trial table of ses-01"):
            open_betas("sub-01", store=store, session=sessions, roi="face")
    told = found(store)
    assert {session: status for session, (status, _) in told.items()} == {
        "ses-01": "ok",
        "ses-02": "damaged",
        "ses-03": "damaged",
    }
    assert "trial table of ses-01" in told["ses-02"][1]
    assert "store build" in told["ses-02"][1]
    assert [one.status for one in build_store(store, bucket=own_tiny, subjects="sub-01")] == [
        "complete",
        "renewed",
        "renewed",
    ]
    right = open_betas("sub-01", bucket=own_tiny, roi="face")
    assert open_betas("sub-01", store=store, roi="face").repetition.values.tolist() == right.repetition.values.tolist()
    assert {status for status, _ in found(store, against_source=True, bucket=own_tiny).values()} == {"ok"}


def test_a_session_without_sizes_is_not_trusted_and_is_built_again(tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build_store(store, bucket=tiny, subjects="sub-01", roi="face")
    for path in store.glob("sub-01/ses-*/zarr.json"):
        metadata = json.loads(path.read_bytes())
        told = json.loads(metadata["attributes"][STORE])
        assert sorted(told["tables"]) == [f"ses-{number:02d}" for number in range(1, int(path.parent.name[4:]) + 1)]
        assert told["sizes"].keys() == told["objects"].keys()
        told["sizes"].popitem()
        del metadata["attributes"][CHECKSUM]
        attributes = {**metadata["attributes"], STORE: json.dumps(told)}
        path.write_bytes(group_metadata(attributes, metadata["consolidated_metadata"]["metadata"]))
    with pytest.raises(DataIntegrityError, match="sizes of other objects"):
        open_betas("sub-01", store=store, roi="face")
    assert {status for status, _ in found(store).values()} == {"damaged"}
    assert {one.status for one in build_store(store, bucket=tiny, subjects="sub-01")} == {"renewed"}
    assert {status for status, _ in found(store).values()} == {"ok"}


@pytest.mark.parametrize("name", ["sub-03", "sub-03/zarr.json", "sub-03/ses-02"])
def test_a_copy_of_another_subject_is_noticed(tiny_store: Path, tmp_path: Path, name: str) -> None:
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    target, source = store / name, store / name.replace("sub-03", "sub-01")
    if target.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    with pytest.raises(DataIntegrityError, match=r"those of '?sub-01"):
        open_betas("sub-03", store=store)
    assert open_betas("sub-01", store=store).sizes["trial"]
    if name.endswith("ses-02"):
        assert found(store, subjects="sub-03")["ses-02"][0] == "damaged"
    else:
        with pytest.raises(DataIntegrityError, match=r"those of 'sub-01"):
            found(store, subjects="sub-03")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("name", sampled(["betas/c/0/0", "label/c/0", "betas/zarr.json"], keep=1))
@pytest.mark.parametrize("change", sampled([cut, extend, lambda path: path.write_bytes(b"")], keep=1))
def test_an_object_of_another_size_is_mended(
    tiny: Path, own_store: Path, tiny_store: Path, name: str, change: Callable[[Path], None]
) -> None:
    path = own_store / "sub-01" / "ses-02" / name
    change(path)
    statuses = [one.status for one in build_store(own_store, bucket=tiny, subjects="sub-01")]
    assert statuses == ["complete", "renewed", "complete"]
    assert path.read_bytes() == (tiny_store / "sub-01" / "ses-02" / name).read_bytes()
