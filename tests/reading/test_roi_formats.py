"""ROIs on voxels, on the vertices of the hemispheres and as lists, against nibabel and NumPy on the demo bucket."""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem as Counting
from demo_files import brain, roi_file, surface_file, volume
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiers import full, sampled

from intake_laion_fmri import open_betas, open_rois
from intake_laion_fmri.axes.rois import RoiMembership
from intake_laion_fmri.betas import roi_data
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.formats.freesurfer import read_label
from intake_laion_fmri.formats.gifti import read_func_gii
from intake_laion_fmri.reading.arguments import check_argument

IT = "laionventral - (V1v | V1d | V2v | V2d | V3v | V3d | hV4)"
HEMIS = ("L", "R")


def gifti(path: Path) -> np.ndarray:
    return nibabel.load(path).darrays[0].data


def listed(path: Path) -> np.ndarray:
    return nibabel.freesurfer.read_label(path)


def set_algebra(member: dict[str, np.ndarray]) -> np.ndarray:
    """IT by hand."""
    early = np.any([member[name] for name in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")], axis=0)
    return member["laionventral"] & ~early


# --- the formats ------------------------------------------------------------------------------------------------------


def test_vertices_are_those_of_the_files(tiny: Path) -> None:
    """Every ROI of both hemispheres, by nibabel."""
    ds = open_rois("sub-03", format="func.gii", bucket=tiny)
    assert set(ds.data_vars) == {"in_roi_L", "in_roi_R"}
    assert set(ds.indexes) == {"roi", "vertex_L", "vertex_R", "hemi"}
    assert ds.sizes["roi"] == 43
    for hemi, n_vertices in zip(HEMIS, (642, 650), strict=True):
        member = ds[f"in_roi_{hemi}"]
        assert (member.dims, member.dtype) == (("roi", f"vertex_{hemi}"), bool)
        assert ds[f"vertex_{hemi}"].values.tolist() == list(range(n_vertices))
        for name in ds.roi.values:
            expected = gifti(surface_file(tiny, "sub-03", hemi, name, ".func.gii")) > 0
            np.testing.assert_array_equal(member.sel(roi=name), expected, err_msg=name)
    assert ds.has_func_gii.all()
    assert ds.has_func_gii.dims == ("roi", "hemi")


def test_labels_are_those_of_the_files(tiny: Path) -> None:
    """Every list, in the file's order; the counts cut them apart, as CF has it."""
    ds = open_rois("sub-01", format="label", bucket=tiny)
    for hemi in HEMIS:
        count, vertex = ds[f"label_count_{hemi}"], ds[f"label_vertex_{hemi}"]
        assert count.attrs["sample_dimension"] == vertex.dims[0] == f"entry_{hemi}"
        stops = np.cumsum(count.values)
        for name, stop, length in zip(ds.roi.values, stops, count.values, strict=True):
            path = surface_file(tiny, "sub-01", hemi, name, ".label")
            assert vertex.values[stop - length : stop].tolist() == listed(path).tolist()
            one = ds.isel({f"entry_{hemi}": (ds[f"label_roi_{hemi}"] == name).values})
            table = np.loadtxt(path, skiprows=2, ndmin=2).reshape(-1, 5)
            np.testing.assert_array_equal(one[f"label_vertex_{hemi}"], table[:, 0])
            for column, axis in enumerate("xyz", 1):
                np.testing.assert_array_equal(one[f"label_{axis}_{hemi}"], table[:, column].astype(np.float32))
            np.testing.assert_array_equal(one[f"label_value_{hemi}"], table[:, 4].astype(np.float32))
        assert stops[-1] == ds.sizes[f"entry_{hemi}"]


def test_all_formats_together_are_the_formats(tiny: Path) -> None:
    together = open_rois("sub-01", format="all", bucket=tiny)
    assert together.attrs["surface_space"] == "fsnative"
    assert "sources" in together.attrs
    for format in ("volume", "func.gii", "label"):
        alone = open_rois("sub-01", format=format, bucket=tiny)
        for name, array in alone.data_vars.items():
            xr.testing.assert_equal(together[name].reset_coords(drop=True), array.reset_coords(drop=True))
            assert together[name].attrs == array.attrs
    assert {"has_volume", "has_func_gii", "has_label"} <= set(together.coords)


@pytest.mark.parametrize("format", ["func.gii", "label", "all"])
@pytest.mark.parametrize("hemi", HEMIS)
def test_one_hemisphere(tiny: Path, format: str, hemi: str) -> None:
    """It is what both give of it, and nothing of the other is read."""
    both, one = (open_rois("sub-01", format=format, hemi=which, bucket=tiny) for which in ("all", hemi))
    other = "LR".replace(hemi, "")
    assert set(one.variables) == {name for name in both.variables if not str(name).endswith(f"_{other}")}
    for name in one.data_vars:
        xr.testing.assert_equal(one[name].reset_coords(drop=True), both[name].reset_coords(drop=True))
    assert f"hemi-{other}" not in one.attrs["sources"]


@pytest.mark.parametrize("roi", ["FFA1", "FFA-1", "face", ["PPA", "face"], IT])
def test_a_selection_is_the_same_on_voxels_vertices_and_labels(tiny: Path, roi: Any) -> None:
    """On each axis it keeps what NumPy's sets keep there, with all ROIs for it."""
    everything, found = (open_rois("sub-01", roi=which, format="all", bucket=tiny) for which in (None, roi))
    assert found.roi.equals(everything.roi)
    for axis, member in {"voxel": "in_roi", "vertex_L": "in_roi_L", "vertex_R": "in_roi_R"}.items():
        rows = dict(zip(everything.roi.values, everything[member].values, strict=True))
        rows["face"] = everything[member].values[everything.roi_category.values == "face"].any(axis=0)
        expected = {"FFA1": rows["FFA1"], "FFA-1": rows["FFA1"], "face": rows["face"], IT: set_algebra(rows)}.get(
            str(roi), rows["PPA"] | rows["face"]
        )
        assert 0 < expected.sum() < len(expected)
        np.testing.assert_array_equal(found[axis], everything[axis].values[expected])
        np.testing.assert_array_equal(found[member], everything[member].values[:, expected])
    for hemi in HEMIS:
        # The demo's labels list the vertices of its masks.
        chosen = np.isin(everything[f"label_vertex_{hemi}"], found[f"vertex_{hemi}"])
        for name in ("label_vertex", "label_roi", "label_x", "label_value"):
            np.testing.assert_array_equal(found[f"{name}_{hemi}"], everything[f"{name}_{hemi}"].values[chosen])
        counts = [(found[f"label_roi_{hemi}"] == name).sum() for name in found.roi.values]
        assert found[f"label_count_{hemi}"].values.tolist() == counts


def test_it_is_what_others_define_by_hand(tiny: Path) -> None:
    """Brain-Score's definition, straight from the files: the volumes, and the betas' voxels."""
    flat = brain(tiny, "sub-01")
    names = ("laionventral", "V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")
    member = {name: volume(roi_file(tiny, "sub-01", name)).reshape(-1)[flat] > 0 for name in names}
    expected = flat[set_algebra(member)]
    assert len(expected)
    np.testing.assert_array_equal(open_rois("sub-01", roi=IT, bucket=tiny).voxel, expected)
    np.testing.assert_array_equal(open_betas("sub-01", roi=IT, bucket=tiny).voxel, expected)


NAMES = ("FFA1", "V1v", "hV4", "PPA", "pSTSfaces")


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[str, str]:
    """An expression, and the same in Python."""
    if depth == 0 or draw(st.booleans()):
        name = draw(st.sampled_from(NAMES))
        return name, f"member[{name!r}]"
    (left, python_left), (right, python_right) = (draw(expressions(depth=depth - 1)) for _ in range(2))
    operator = draw(st.sampled_from("|&-"))
    return f"({left}) {operator} ({right})", f"(({python_left}) {operator} ({python_right}))"


@given(expressions(), hnp.arrays(bool, (len(NAMES), 12)))
def test_expressions_are_set_algebra(expression: tuple[str, str], inside: np.ndarray) -> None:
    """On random masks: Python's sets give the same."""
    found = RoiMembership(NAMES, ("face",) * len(NAMES), inside).select(expression[0], where="here")
    member = {name: set(np.flatnonzero(row)) for name, row in zip(NAMES, inside, strict=True)}
    assert set(np.flatnonzero(found)) == eval(expression[1], {"member": member})


def test_the_volume_format_is_what_it_was(tiny: Path) -> None:
    xr.testing.assert_identical(open_rois("sub-01", bucket=tiny), open_rois("sub-01", format="volume", bucket=tiny))
    assert set(open_rois("sub-01", bucket=tiny).coords) == {
        *("roi", "roi_category", "voxel", "subject", "grid"),
        *"ijkxyz",
    }


@pytest.mark.parametrize("format", sampled(["all", "func.gii", "label"], keep=1))
@pytest.mark.parametrize("roi", [None, "V1v & MPA & FFA1"])
def test_stores_keep_everything(tiny: Path, tmp_path: Path, format: str, roi: str | None) -> None:
    """Without a warning, also where nothing is left."""
    ds = open_rois("sub-01", format=format, roi=roi, bucket=tiny)
    ds.to_zarr(tmp_path / "store", consolidated=False)
    with xr.open_zarr(tmp_path / "store", consolidated=False) as again:
        xr.testing.assert_identical(again.compute(), ds)
    ds.to_netcdf(tmp_path / "file.nc")
    with xr.open_dataset(tmp_path / "file.nc") as again:
        xr.testing.assert_identical(again.compute(), ds)


# --- the page's dictionary --------------------------------------------------------------------------------------------


def test_the_dictionary_of_one_roi(tiny: Path) -> None:
    """The page's form, by nibabel."""
    data = roi_data("sub-01", "FFA1", bucket=tiny)
    assert list(data) == ["FFA1"]
    assert set(data["FFA1"]) == {"volume", "gii"}
    assert set(data["FFA1"]["gii"]) == {"hemi-L", "hemi-R"}
    expected = volume(roi_file(tiny, "sub-01", "FFA1")).reshape(-1)[brain(tiny, "sub-01")] > 0
    assert data["FFA1"]["volume"].dtype == bool
    np.testing.assert_array_equal(data["FFA1"]["volume"], expected)
    for hemi in HEMIS:
        forms = data["FFA1"]["gii"][f"hemi-{hemi}"]
        assert set(forms) == {"func.gii", "label"}
        np.testing.assert_array_equal(
            forms["func.gii"], gifti(surface_file(tiny, "sub-01", hemi, "FFA1", ".func.gii")) > 0
        )
        np.testing.assert_array_equal(forms["label"], listed(surface_file(tiny, "sub-01", hemi, "FFA1", ".label")))
        assert forms["func.gii"].dtype == bool
        assert forms["label"].dtype.kind == "i"


@pytest.mark.parametrize(
    ("roi", "names"),
    [
        ("FFA-1", ["FFA1"]),
        ("face", ["FFA1", "FFA2", "OFA", "pSTSfaces"]),
        (["PPA", "face"], ["FFA1", "FFA2", "OFA", "PPA", "pSTSfaces"]),
        (("PPA", "PPA"), ["PPA"]),
    ],
)
def test_the_dictionary_of_several_rois(tiny: Path, roi: Any, names: list[str]) -> None:
    data = roi_data("sub-01", roi, bucket=tiny)
    assert list(data) == names
    for name in names:
        np.testing.assert_equal(data[name], roi_data("sub-01", name, bucket=tiny)[name])


def test_the_dictionary_of_all_rois(tiny: Path) -> None:
    """The volumes are those of `open_rois`, in the other mask too."""
    data = roi_data("sub-01", "all", mask="anatomical", format="volume", bucket=tiny)
    ds = open_rois("sub-01", mask="anatomical", bucket=tiny)
    assert list(data) == ds.roi.values.tolist()
    assert all(set(forms) == {"volume"} for forms in data.values())
    np.testing.assert_array_equal([forms["volume"] for forms in data.values()], ds.in_roi)


def test_the_dictionary_of_some_formats(tiny: Path) -> None:
    assert set(roi_data("sub-01", "PPA", format="volume", bucket=tiny)["PPA"]) == {"volume"}
    only = roi_data("sub-01", "PPA", format="label", hemi="R", bucket=tiny)
    assert set(only["PPA"]) == {"gii"}
    assert {hemi: set(forms) for hemi, forms in only["PPA"]["gii"].items()} == {"hemi-R": {"label"}}


@pytest.mark.parametrize(
    ("roi", "error", "message"),
    [
        ("FFA3", ValueError, "Unknown ROI of sub-01 in .*'FFA3'. Did you mean .*FFA1"),
        ("FFA1 | FFA2", ValueError, r"'FFA1 \| FFA2' stands for one set of voxels.*use open_rois"),
        (["FFA1", IT], ValueError, "use open_rois"),
        ([], ValueError, "names no ROI"),
        (None, TypeError, "roi must be a text"),
        (3, TypeError, "roi must be a text"),
    ],
)
def test_what_the_dictionary_refuses(tiny: Path, roi: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        roi_data("sub-01", roi, bucket=tiny)


# --- requests ---------------------------------------------------------------------------------------------------------


def suffixes() -> dict[str, int]:
    read = [name for name in Counting.read if "SingletrialBetas" not in name]
    endings = (".nii.gz", ".func.gii", ".label")
    return {ending: sum(name.endswith(ending) for name in read) for ending in endings}


@pytest.mark.parametrize(
    ("format", "files"),
    [("volume", (41, 0, 0)), ("func.gii", (0, 80, 0)), ("label", (0, 2, 80)), ("all", (41, 80, 80))],
)
def test_opening_reads_each_file_of_its_formats_once(
    tiny: Path,
    counted: str,
    format: str,
    files: tuple[int, int, int],
) -> None:
    open_rois("sub-01", format=format, bucket=counted)
    assert tuple(suffixes().values()) == files
    assert all(size == next(tiny.rglob(name)).stat().st_size for name, size in Counting.read.items())


def test_the_dictionary_reads_the_files_of_its_rois_only(tiny: Path, counted: str) -> None:
    roi_data("sub-01", ["FFA1", "PPA"], bucket=counted)
    assert suffixes() == {".nii.gz": 3, ".func.gii": 4, ".label": 4}


@full("the same files from a server, three seconds; test_s3 is in the fast tier")
def test_from_a_real_server(s3: Any, tiny: Path) -> None:
    """The same Dataset and dictionary as from the disk, but for the files' ETags."""
    place = {"bucket": s3.url, "storage_options": s3.storage_options}
    found = open_rois("sub-03", roi="face", format="all", **place)
    xr.testing.assert_equal(found, open_rois("sub-03", roi="face", format="all", bucket=tiny))
    np.testing.assert_equal(roi_data("sub-03", "PPA", **place), roi_data("sub-03", "PPA", bucket=tiny))


# --- what is missing --------------------------------------------------------------------------------------------------


def test_missing_in_one_format_is_not_empty(own_tiny: Path) -> None:
    """False everywhere in both cases, and told apart by a coordinate; without a warning."""
    roi_file(own_tiny, "sub-01", "PPA").unlink()
    surface_file(own_tiny, "sub-01", "L", "FFA1", ".func.gii").unlink()
    for hemi in HEMIS:
        surface_file(own_tiny, "sub-01", hemi, "OPA", ".label").unlink()
    empty(roi_file(own_tiny, "sub-01", "MPA"))
    ds = open_rois("sub-01", format="all", bucket=own_tiny)
    assert ds.sizes["roi"] == 40
    assert not ds.in_roi.sel(roi=["PPA", "MPA"]).any()
    assert ds.has_volume.sel(roi=["PPA", "MPA"]).values.tolist() == [False, True]
    assert not ds.in_roi_L.sel(roi="FFA1").any()
    assert ds.in_roi_R.sel(roi="FFA1").any()
    assert ds.has_func_gii.sel(roi="FFA1").values.tolist() == [False, True]
    assert ds.label_count_L.sel(roi="OPA") == ds.label_count_R.sel(roi="OPA") == 0
    assert not ds.has_label.sel(roi="OPA").any()
    assert (~ds.has_volume).sum() == (~ds.has_func_gii).sum() == 1
    assert open_rois("sub-01", format="label", bucket=own_tiny).sizes["roi"] == 39
    selected = open_rois("sub-01", roi="PPA", format="all", bucket=own_tiny)
    assert selected.sizes["voxel"] == 0 < selected.sizes["vertex_L"]


def empty(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine, image.header), path)


def test_a_selected_roi_without_the_format(own_tiny: Path) -> None:
    """The subject has it, so it is no unknown name: the error tells where it is."""
    roi_file(own_tiny, "sub-01", "PPA").unlink()
    message = (
        r"'PPA' of sub-01 has no volume in .*derivatives/rois/sub-01\. It is there as func\.gii of hemisphere L, .*"
    )
    for function in (open_rois, open_betas):
        with pytest.raises(NotInBucketError, match=message):
            function("sub-01", roi="PPA", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="has no volume"):
        roi_data("sub-01", "PPA", format="volume", bucket=own_tiny)
    assert set(roi_data("sub-01", "PPA", bucket=own_tiny)["PPA"]) == {"gii"}
    assert "PPA" not in roi_data("sub-01", "place", format="volume", bucket=own_tiny)
    surface_file(own_tiny, "sub-01", "L", "FFA1", ".label").unlink()
    with pytest.raises(NotInBucketError, match=r"no label of hemisphere L .* as .*volume"):
        open_rois("sub-01", roi="FFA1", format="label", hemi="L", bucket=own_tiny)


@pytest.mark.parametrize("format", ["func.gii", "label", "all"])
def test_a_roi_of_other_subjects_only(tiny: Path, format: str) -> None:
    with pytest.raises(ValueError, match=r"Unknown ROI of sub-01 in .*'AFP1'. Did you mean"):
        open_rois("sub-01", roi="AFP1", format=format, bucket=tiny)
    assert open_rois("sub-03", roi="AFP1", format=format, bucket=tiny).sizes["roi"] == 43


def test_a_hemisphere_is_missing(own_tiny: Path) -> None:
    """Left out with one warning; an error where it is all that was asked for."""
    for path in (own_tiny / "derivatives/rois/sub-01").rglob("*_hemi-R_*.func.gii"):
        path.unlink()
    with pytest.warns(
        MissingFileWarning, match=r"in_roi_R \(no func\.gii of hemisphere R in .*rois/sub-01\)"
    ) as caught:
        ds = open_rois("sub-01", format="func.gii", bucket=own_tiny)
    assert [warning.filename for warning in caught] == [__file__]
    assert set(ds.data_vars) == {"in_roi_L"}
    assert not ds.has_func_gii.sel(hemi="R").any()
    with pytest.raises(NotInBucketError, match=r"holds no ROI func\.gii"), pytest.warns(MissingFileWarning):
        open_rois("sub-01", format="func.gii", hemi="R", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match=r"holds no ROI func\.gii"):
        open_rois("sub-01", format="func.gii", hemi="R", roi="FFA1", bucket=own_tiny)


def test_surfaces_need_neither_betas_nor_mask(own_tiny: Path) -> None:
    """A copy of the ROIs alone; volumes have no axis without a mask."""
    shutil.rmtree(own_tiny / "derivatives/glmsingle-tedana/sub-01")
    assert open_rois("sub-01", format="func.gii", bucket=own_tiny).in_roi_L.any()
    assert set(roi_data("sub-01", "FFA1", format="label", bucket=own_tiny)["FFA1"]) == {"gii"}
    with pytest.raises(NotInBucketError, match=r"R2mean_statmap\.nii\.gz is not in the bucket"):
        open_rois("sub-01", format="all", bucket=own_tiny)


def test_no_volume_at_all(own_tiny: Path) -> None:
    for path in (own_tiny / "derivatives/rois/sub-01").rglob("*.nii.gz"):
        path.unlink()
    with pytest.warns(MissingFileWarning, match=r"in_roi \(no volume in"):
        ds = open_rois("sub-01", format="all", bucket=own_tiny)
    assert "voxel" not in ds.dims
    assert "affine" not in ds.attrs
    assert not ds.has_volume.any()


# --- contradictions between files -------------------------------------------------------------------------------------


def write_gifti(path: Path, values: np.ndarray, **header: Any) -> None:
    path.write_bytes(gifti_bytes(values, **header))


def gifti_bytes(values: np.ndarray, datatype: str = "NIFTI_TYPE_FLOAT32", **options: Any) -> bytes:
    array = nibabel.gifti.GiftiDataArray(values, intent="NIFTI_INTENT_NONE", datatype=datatype, **options)
    content: bytes = nibabel.gifti.GiftiImage(darrays=[array]).to_bytes()
    return content


def test_different_numbers_of_vertices(own_tiny: Path) -> None:
    """Both files are named; the other hemisphere may have another number, and has."""
    path = surface_file(own_tiny, "sub-01", "L", "PPA", ".func.gii")
    write_gifti(path, np.zeros(641, np.float32))
    first = surface_file(own_tiny, "sub-01", "L", "EBA", ".func.gii")
    message = rf"{re.escape(path.name)}: expected 642 vertices, as in .*{re.escape(first.name)}, found 641"
    with pytest.raises(DataIntegrityError, match=message):
        open_rois("sub-01", format="func.gii", roi="PPA", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match=message):
        found = open_rois("sub-01", format="func.gii", bucket=own_tiny)
    assert found.has_func_gii.sel(roi="PPA").to_dict()["data"] == [False, True]
    assert not found.in_roi_L.sel(roi="PPA").any()
    open_rois("sub-01", format="func.gii", hemi="R", bucket=own_tiny)


@pytest.mark.parametrize("format", ["label", "all"])
def test_a_vertex_beyond_the_surface(own_tiny: Path, format: str) -> None:
    """Known from the masks, also where only labels are read."""
    path = surface_file(own_tiny, "sub-01", "L", "PPA", ".label")
    path.write_text("#!ascii label\n1\n642 0 0 0 1\n")
    with pytest.raises(DataIntegrityError, match=rf"{path.name}: line 3: expected a vertex from 0 to 641, found 642"):
        open_rois("sub-01", format=format, roi="PPA", bucket=own_tiny)


def test_two_keys_of_one_name(own_tiny: Path) -> None:
    """`FFA-1` and `FFA1` beside each other, on one surface: both are named."""
    path = surface_file(own_tiny, "sub-01", "L", "FFA1", ".label")
    twin = path.with_name(path.name.replace("FFA-1", "FFA1"))
    twin.write_text(path.read_text().replace("1.0000000000", "2.0000000000") + "\n")
    with pytest.raises(DataIntegrityError, match=rf"{path.name} and .*{twin.name}|{twin.name} and .*{path.name}"):
        open_rois("sub-01", format="label", roi="FFA1", bucket=own_tiny)


def test_one_roi_in_two_categories(own_tiny: Path) -> None:
    path = surface_file(own_tiny, "sub-01", "L", "PPA", ".label")
    moved = own_tiny / "derivatives/rois/sub-01/face" / path.name
    path.rename(moved)
    with pytest.raises(
        DataIntegrityError, match=r"'PPA' is in two categories: .*/(face|place)/.* and .*/(face|place)/"
    ):
        open_rois("sub-01", format="label", roi="PPA", bucket=own_tiny)


def test_clean_and_hyphenated_keys_are_the_same(own_tiny: Path, tiny: Path) -> None:
    """Copies made by the data set's own package have the names without hyphens."""
    for path in list((own_tiny / "derivatives/rois/sub-01").rglob("*_label-*_mask*")):
        head, _, tail = path.name.partition("_label-")
        label, _, rest = tail.partition("_mask")
        path.rename(path.with_name(f"{head}_label-{label.replace('-', '')}_mask{rest}"))
    found = open_rois("sub-01", format="all", bucket=own_tiny)
    xr.testing.assert_equal(found, open_rois("sub-01", format="all", bucket=tiny))


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "func_gii"}, r"Unknown format: 'func_gii'. Did you mean 'func\.gii'"),
        ({"format": "gii"}, "Unknown format: 'gii'"),
        ({"format": None}, "Unknown format: None"),
        ({"format": ["volume"]}, "Unknown format"),
        ({"hemi": "left"}, "Unknown hemi: 'left'.*Valid: L, R, all"),
        ({"hemi": "l"}, "Did you mean 'L'"),
        ({"hemi": 1}, "Unknown hemi: 1"),
        ({"mask": "rsqare"}, "Did you mean 'rsquare'"),
        ({"roi": "FFA3", "format": "func.gii"}, "Did you mean .*FFA1"),
        ({"subject": "sub-02", "format": "label"}, "Unknown subject"),
    ],
)
def test_a_wrong_argument(tiny: Path, arguments: dict[str, Any], message: str) -> None:
    for function in (open_rois, roi_data):
        with pytest.raises(ValueError, match=message):
            function(**{"subject": "sub-01", "roi": "FFA1", "bucket": tiny, **arguments})


def test_every_argument_of_every_function_has_its_check() -> None:
    """What the drivers rely on: a default passes its own check."""
    import inspect

    from intake_laion_fmri.reading import betas

    for name in betas.__all__:
        function = getattr(betas, name)
        if name.startswith("open_") or name == "roi_data":
            for parameter in inspect.signature(function).parameters.values():
                if parameter.default is not inspect.Parameter.empty:
                    check_argument(parameter.name, parameter.default)
                else:
                    check_argument(parameter.name, "sub-01")


# --- readers: GIfTI ---------------------------------------------------------------------------------------------------

DATATYPES = {"NIFTI_TYPE_UINT8": np.uint8, "NIFTI_TYPE_INT32": np.int32, "NIFTI_TYPE_FLOAT32": np.float32}


@given(
    st.sampled_from(sorted(DATATYPES)).flatmap(
        lambda kind: st.tuples(st.just(kind), hnp.arrays(DATATYPES[kind], st.integers(1, 40)))
    ),
    st.sampled_from(["GIFTI_ENCODING_ASCII", "GIFTI_ENCODING_B64BIN", "GIFTI_ENCODING_B64GZ"]),
    st.booleans(),
)
def test_gifti_is_what_nibabel_reads(array: tuple[str, np.ndarray], encoding: str, column: bool) -> None:
    """Whatever nibabel writes, in either of its encodings; an infinite number is an error, and so is an atlas."""
    datatype, values = array
    assume(encoding != "GIFTI_ENCODING_ASCII" or np.isfinite(values).all())
    content = gifti_bytes(values[:, np.newaxis] if column else values, datatype, encoding=encoding)
    if np.isinf(values).any():
        with pytest.raises(DataIntegrityError, match="a file: expected a mask of finite numbers"):
            read_func_gii(content, name="a file")
        return
    numbers = nibabel.gifti.GiftiImage.from_bytes(content).darrays[0].data.reshape(-1)
    expected = numbers > 0.5
    if expected.all() and len({round(number) for number in numbers.tolist()}) > 1:
        with pytest.raises(DataIntegrityError, match=r"a file: expected a mask, found the numbers .* no background"):
            read_func_gii(content, name="a file")
        return
    np.testing.assert_array_equal(read_func_gii(content, name="a file"), expected)


def test_gifti_of_the_other_endian() -> None:
    values = np.array([0, 1, 0, 2.5, -1], dtype=">f4")
    text = gifti_bytes(values.astype("f4"), encoding="GIFTI_ENCODING_B64BIN").decode()
    swapped = text.replace("LittleEndian", "BigEndian").replace(
        base64.b64encode(values.astype("<f4").tobytes()).decode(), base64.b64encode(values.tobytes()).decode()
    )
    assert swapped.count("BigEndian") == 1
    assert read_func_gii(swapped.encode(), name="a file").tolist() == [False, True, False, True, False]


PLAIN = gifti_bytes(np.array([0, 1, 1], np.float32)).decode()
DATA = re.search("<Data>(.*)</Data>", PLAIN)[1]
ARRAY = re.search("<DataArray.*</DataArray>", PLAIN, re.DOTALL)[0]


def packed(values: np.ndarray, compress: bool = True) -> str:
    content = values.tobytes()
    return base64.b64encode(zlib.compress(content) if compress else content).decode()


GIFTI_FAULTS = {
    "empty": (b"", "expected a complete GIfTI file"),
    "truncated": (PLAIN[: PLAIN.index("</Data>")].encode(), "expected a complete GIfTI file"),
    "truncated data": (PLAIN.replace(DATA, DATA[: len(DATA) // 2 // 4 * 4]).encode(), "cut off"),
    "flipped data": (PLAIN.replace(DATA, DATA[:-8] + "AAAAAAA=").encode(), "as GZipBase64Binary, found"),
    "no Base64": (PLAIN.replace(DATA, "***").encode(), "as GZipBase64Binary, found"),
    "beyond ASCII": (PLAIN.replace(DATA, "ééé").encode(), "as GZipBase64Binary, found"),
    "no zlib": (PLAIN.replace(DATA, packed(np.zeros(3, "f4"), False)).encode(), "as GZipBase64Binary, found"),
    "something after the data": (
        PLAIN.replace(DATA, base64.b64encode(base64.b64decode(DATA) + b"more").decode()).encode(),
        "goes on after its end",
    ),
    "too few numbers": (PLAIN.replace(DATA, packed(np.zeros(2, "f4"))).encode(), "expected 3 numbers in 12 bytes"),
    "too many numbers": (PLAIN.replace(DATA, packed(np.zeros(4, "f4"))).encode(), "found more"),
    "no data": (PLAIN.replace(f"<Data>{DATA}</Data>", "").encode(), "found"),
    "no array": (PLAIN.replace(ARRAY, "").encode(), "expected one data array, found 0"),
    "two arrays": (PLAIN.replace(ARRAY, ARRAY * 2).encode(), "expected one data array, found 2"),
    "two arrays declared": (PLAIN.replace('Arrays="1"', 'Arrays="2"').encode(), "and 2 declared"),
    "infinite": (
        PLAIN.replace(DATA, packed(np.array([0, np.inf, 1], "f4"))).encode(),
        "finite numbers, found an infinite one",
    ),
    "external": (PLAIN.replace("GZipBase64Binary", "ExternalFileBinary").encode(), "'ExternalFileBinary'"),
    "no encoding": (PLAIN.replace('Encoding="GZipBase64Binary"', "").encode(), "found the Encoding ''"),
    "no endian": (PLAIN.replace("LittleEndian", "Middle").encode(), "Endian .* found 'Middle'"),
    "complex numbers": (PLAIN.replace("TYPE_FLOAT32", "TYPE_COMPLEX64").encode(), "found 'NIFTI_TYPE_COMPLEX64'"),
    "words": (PLAIN.replace("GZipBase64Binary", "ASCII").replace(DATA, "0 one 1").encode(), "expected numbers, found"),
    "too few words": (
        PLAIN.replace("GZipBase64Binary", "ASCII").replace(DATA, "0 1").encode(),
        "expected 3 numbers, found 2",
    ),
    "no vertex": (PLAIN.replace('Dim0="3"', 'Dim0="0"').encode(), "expected 1 to 10000000 vertices, found 0"),
    "a billion vertices": (PLAIN.replace('Dim0="3"', 'Dim0="999999999"').encode(), "found 999999999"),
    "a negative number of vertices": (PLAIN.replace('Dim0="3"', 'Dim0="-3"').encode(), "one number per vertex"),
    "a matrix": (
        PLAIN.replace('Dimensionality="1"', 'Dimensionality="2"').replace('Dim0="3"', 'Dim0="1" Dim1="3"').encode(),
        "one number per vertex",
    ),
    "no dimension": (PLAIN.replace('Dimensionality="1"', 'Dimensionality="x"').encode(), "one number per vertex"),
    "another XML file": (b"<svg/>", "expected a GIfTI file, found the XML element 'svg'"),
    "Latin-1": (PLAIN.replace("<MetaData", "é<MetaData").encode("latin-1"), "expected a complete GIfTI file"),
    "NUL": (PLAIN.replace("<MetaData", "\0<MetaData").encode(), "expected a complete GIfTI file"),
    "a binary file": (bytes(range(256)), "expected a complete GIfTI file"),
    "an entity": (
        PLAIN.replace(
            re.search("<!DOCTYPE.*?>", PLAIN)[0], '<!DOCTYPE GIFTI [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        ).encode(),
        "expected no XML entities",
    ),
}


@pytest.mark.parametrize("fault", GIFTI_FAULTS)
def test_broken_gifti(fault: str) -> None:
    content, message = GIFTI_FAULTS[fault]
    assert read_func_gii(PLAIN.encode(), name="a file").tolist() == [False, True, True]
    with pytest.raises(DataIntegrityError, match=rf"^a file: .*{message}.*Fetch the file again"):
        read_func_gii(content, name="a file")


def test_an_external_file_is_never_opened(own_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that exists beside it: nibabel would follow the name."""
    path = surface_file(own_tiny, "sub-01", "L", "PPA", ".func.gii")
    np.ones(642, "f4").tofile(path.with_name("secret"))
    text = path.read_text().replace("GZipBase64Binary", "ExternalFileBinary")
    path.write_text(text.replace('ExternalFileName=""', 'ExternalFileName="secret"'))
    assert gifti(path).sum() == 642
    with pytest.raises(DataIntegrityError, match=rf"{path.name}: .*in the file itself.*'ExternalFileBinary'"):
        open_rois("sub-01", format="func.gii", roi="PPA", bucket=own_tiny)


def test_bombs_cost_nothing() -> None:
    """A hundred megabytes of zeros in a hundred kilobytes, and entities that grow tenfold: refused at once."""
    start = time.process_time()
    bomb = base64.b64encode(zlib.compress(bytes(100_000_000))).decode()
    packing = time.process_time() - start
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 20))
    doctype = f'<!DOCTYPE GIFTI [<!ENTITY l0 "ha">{laughs}]>'
    start = time.process_time()
    for content in (PLAIN.replace(DATA, bomb), re.sub("<!DOCTYPE.*?>", doctype, PLAIN).replace(DATA, "&l19;")):
        with pytest.raises(DataIntegrityError):
            read_func_gii(content.encode(), name="a file")
    assert time.process_time() - start < max(1.0, 2 * packing)


@settings(max_examples=300)
@given(st.data())
def test_a_gifti_with_changed_bytes(data: st.DataObject) -> None:
    """It is read, or refused by our error that names it; nothing else."""
    content = damaged(data, PLAIN.encode())
    with suppress_refusal():
        assert read_func_gii(content, name="a file").dtype == bool


@contextlib.contextmanager
def suppress_refusal() -> Iterator[None]:
    try:
        yield
    except DataIntegrityError as error:
        if not str(error).startswith("a file: "):
            raise


def damaged(data: st.DataObject, content: bytes) -> bytes:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 30)))
        content = (
            content[:start] + data.draw(st.binary(max_size=6) | st.just(content[stop : stop + 40])) + content[stop:]
        )
    return content


# --- readers: labels --------------------------------------------------------------------------------------------------

finite = st.floats(-999, 999, width=32).map(lambda value: f"{value:.3f}")


@given(
    st.lists(st.tuples(st.integers(0, 200_000), finite, finite, finite, finite), max_size=20), st.sampled_from("\n\r")
)
def test_labels_are_what_nibabel_reads(tmp_path_factory: Any, rows: list[tuple[Any, ...]], end: str) -> None:
    """Also with the line ends of other systems, which nibabel's text mode takes as well."""
    lines = ["#!ascii label  , from subject é", str(len(rows)), *("  ".join(map(str, row)) for row in rows)]
    content = (("\r\n" if end == "\r" else "\n").join([*lines, ""])).encode()
    found = read_label(content, name="a file")
    table = np.array(rows, dtype=float).reshape(-1, 5)
    np.testing.assert_array_equal(found.vertices, table[:, 0])
    np.testing.assert_array_equal(found.xyz, table[:, 1:4].astype("f4"))
    np.testing.assert_array_equal(found.values, table[:, 4].astype("f4"))
    if rows:
        path = tmp_path_factory.getbasetemp() / "a.label"
        path.write_bytes(content)
        vertices, values = nibabel.freesurfer.read_label(path, read_scalars=True)
        np.testing.assert_array_equal(found.vertices, vertices)
        np.testing.assert_array_equal(found.values, values.astype("f4"))


LABEL = "#!ascii label\n2\n3  1.0 -2.0 3.0 0.5\n7  1.0 -2.0 3.0 1\n"
LABEL_FAULTS = {
    "empty": (b"", "line 1: expected a comment"),
    "no comment": (LABEL[LABEL.index("\n") + 1 :].encode(), "line 1: expected a comment"),
    "comment alone": (b"#!ascii label\n", "line 2: expected the number of vertices"),
    "no count": (LABEL.replace("\n2\n", "\ntwo\n").encode(), "line 2: expected the number of vertices, found 'two'"),
    "a negative count": (LABEL.replace("\n2\n", "\n-2\n").encode(), "line 2"),
    "a count beyond all": (LABEL.replace("\n2\n", f"\n{10**30}\n").encode(), "line 2"),
    "more than counted": (LABEL.replace("\n2\n", "\n1\n").encode(), "expected 1 vertices, .* found 2"),
    "less than counted": (LABEL.replace("\n2\n", "\n999999999\n").encode(), "expected 999999999 .* found 2"),
    "truncated": (LABEL[:-5].encode(), "line 4: expected 'vertex x y z value', found '7  1.0 -2.0 3'"),
    "a field too many": (LABEL.replace("0.5", "0.5 9").encode(), "line 3: expected"),
    "a negative vertex": (
        LABEL.replace("\n7", "\n-7").encode(),
        "line 4: expected a vertex from 0 to 9999999, found -7",
    ),
    "a vertex beyond all": (LABEL.replace("\n7", "\n10000000").encode(), "line 4: expected a vertex from 0"),
    "a vertex beyond int64": (LABEL.replace("\n7", f"\n{10**30}").encode(), "line 4: expected"),
    "half a vertex": (LABEL.replace("\n7", "\n7.5").encode(), "line 4: expected"),
    "a place that is none": (
        LABEL.replace("3.0 0.5", "nan 0.5").encode(),
        "line 3: expected .* found '3  1.0 -2.0 nan",
    ),
    "beyond float32": (LABEL.replace("0.5", "1e40").encode(), "float32"),
    "beyond float64": (LABEL.replace("0.5", "1e400").encode(), "float32"),
    "words": (LABEL.replace("0.5", "half").encode(), "line 3: expected"),
    "underscores": (LABEL.replace("0.5", "0_5").encode(), "line 3: expected"),
    "other digits": (LABEL.replace("0.5", "٥").encode(), "line 3: expected"),
    "NUL": (LABEL.replace("0.5", "0.5\0").encode(), "line 3: expected"),
    "NUL in the comment": (LABEL.replace("label", "lab\0el").encode(), "line 1: expected a comment"),
    "UTF-16": (LABEL.encode("utf-16"), "line 1: expected a comment"),
    "a GIfTI file": (PLAIN.encode(), "line 1: expected a comment"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_broken_labels(fault: str) -> None:
    content, message = LABEL_FAULTS[fault]
    assert read_label(LABEL.encode(), name="a file").vertices.tolist() == [3, 7]
    with pytest.raises(DataIntegrityError, match=rf"^a file: .*{message}.*Fetch the file again"):
        read_label(content, name="a file")


def test_the_vertices_of_a_label_end_with_the_surface() -> None:
    assert len(read_label(LABEL.encode(), name="a file", n_vertices=8).vertices) == 2
    with pytest.raises(DataIntegrityError, match="line 4: expected a vertex from 0 to 6, found 7"):
        read_label(LABEL.encode(), name="a file", n_vertices=7)


def test_an_empty_label() -> None:
    found = read_label(b"#!ascii label\n0\n", name="a file")
    assert (found.vertices.shape, found.xyz.shape, found.values.shape) == ((0,), (0, 3), (0,))


@settings(max_examples=300)
@given(st.data())
def test_a_label_with_changed_bytes(data: st.DataObject) -> None:
    """It is read, or refused by our error that names it; nothing else."""
    with suppress_refusal():
        found = read_label(damaged(data, LABEL.encode()), name="a file", n_vertices=100)
        assert (found.vertices >= 0).all()
        assert np.isfinite(found.xyz).all()


@pytest.mark.parametrize("reader", [read_func_gii, read_label])
def test_long_nonsense_is_refused_in_no_time(reader: Any) -> None:
    """Patterns that backtrack and errors that quote everything would show here."""
    start = time.process_time()
    for piece in ("1", "1.", " ", "-", "1e", "\n", "#", "<GIFTI>", "1 1 1 1 1"):
        for head in ("", "#\n1\n", PLAIN[: PLAIN.index("<Data>") + 6].replace("GZipBase64Binary", "ASCII")):
            content = head + piece * (1_000_000 // len(piece))
            content += "</Data></DataArray></GIFTI>" if head.startswith("<") else ""
            with pytest.raises(DataIntegrityError) as caught:
                reader(content.encode(), name="a file")
            assert len(str(caught.value)) < 1000
    assert time.process_time() - start < 20
