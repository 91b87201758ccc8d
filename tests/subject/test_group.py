"""Several subjects: each as if it were alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plain_arrays as oracle
import pytest

from intake_laion_fmri.group import Group, load_subjects


@pytest.fixture
def group(tiny: Path) -> Group:
    return load_subjects("all", bucket=tiny)


def test_what_is_in_a_group(group: Group, tiny: Path) -> None:
    assert [name for name, _ in group] == ["sub-01", "sub-03"]
    assert len(group) == 2
    assert group[0] is group["sub-01"]
    assert group[-1].subject_id == "sub-03"
    assert repr(group) == "<Group of sub-01, sub-03>"
    assert [name for name, _ in load_subjects(["sub-03", "01"], bucket=tiny)] == ["sub-03", "sub-01"]
    assert len(load_subjects("sub-03", bucket=tiny)) == 1


def test_who_is_not_in_a_group(group: Group, tiny: Path) -> None:
    with pytest.raises(KeyError, match=r"Unknown subject of this group: 'sub-02'\. Did you mean"):
        group["sub-02"]
    with pytest.raises(IndexError):
        group[2]
    with pytest.raises(ValueError, match=r"Unknown subject of .*'sub-02'"):
        load_subjects(["sub-01", "sub-02"], bucket=tiny)
    with pytest.raises(ValueError, match=r"subjects=\[\] is empty"):
        load_subjects([], bucket=tiny)


def test_shared_betas(group: Group, tiny: Path) -> None:
    """A trap: rows are not aligned, and a warning says so."""
    with pytest.warns(UserWarning, match="not aligned between subjects") as told:
        found = group.get_shared_betas("ses-01", roi="face")
    assert told[0].filename == __file__
    assert list(found) == ["sub-01", "sub-03"]
    for name, values in found.items():
        rows = np.char.startswith(oracle.labels(tiny, "ses-01", name), "shared_")
        index = oracle.roi(tiny, group[name].get_available_rois("face"), subject=name)
        np.testing.assert_array_equal(values, oracle.betas(tiny, "ses-01", index, name)[rows])


def test_shared_images(group: Group) -> None:
    """A row of the table for each, in its order."""
    table = group.get_shared_stimulus_metadata()
    assert set(table["unique_or_shared"]) == {"shared"}
    pictures, array = group.get_shared_images(), group.get_shared_images("numpy")
    assert len(pictures) == len(table)
    np.testing.assert_array_equal(array, [np.asarray(picture) for picture in pictures])
    first = group[0].metadata.query("unique_or_shared == 'shared'").iloc[0]
    row = table.index[table["image_name"] == first["image_name"]][0]
    np.testing.assert_array_equal(array[row], np.asarray(group[0].images.get(first.name)))
    with pytest.raises(ValueError, match="Did you mean 'pil'"):
        group.get_shared_images("PIL")  # type: ignore[arg-type]
