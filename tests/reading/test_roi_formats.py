"""ROIs on voxels, on the vertices of the hemispheres and as lists, against nibabel and NumPy on the demo bucket."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem as Counting
from demo_files import brain, roi_file, surface_file, volume
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from surface_files import gifti, gifti_bytes
from tiers import full, sampled

from intake_laion_fmri import open_betas, open_rois
from intake_laion_fmri.axes.rois import RoiExpression, RoiMembership
from intake_laion_fmri.betas import roi_data
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.reading.arguments import check_argument

IT = "laionventral - (V1v | V1d | V2v | V2d | V3v | V3d | hV4)"
HEMIS = ("L", "R")


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
    membership = RoiMembership(NAMES, ("face",) * len(NAMES), inside)
    found = membership.select(RoiExpression.parse(expression[0]), where="here")
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
        ("FFA1 | FFA2", ValueError, r"'FFA1 \| FFA2' is a single set of voxels.*use open_rois"),
        (["FFA1", IT], ValueError, "use open_rois"),
        ([], ValueError, "is empty"),
        (None, TypeError, "roi must be a string"),
        (3, TypeError, "roi must be a string"),
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
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    found = open_rois("sub-03", roi="face", format="all", **where)
    xr.testing.assert_equal(found, open_rois("sub-03", roi="face", format="all", bucket=tiny))
    np.testing.assert_equal(roi_data("sub-03", "PPA", **where), roi_data("sub-03", "PPA", bucket=tiny))


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
    message = r"'PPA' of sub-01 has no volume in .*derivatives/rois/sub-01\. It exists as func\.gii of hemisphere L, .*"
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
    with pytest.raises(NotInBucketError, match=r"ROI in the format func\.gii"), pytest.warns(MissingFileWarning):
        open_rois("sub-01", format="func.gii", hemi="R", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match=r"holds no ROI in the format func\.gii"):
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
    with pytest.raises(DataIntegrityError, match=rf"{path.name}: expected vertices from 0 to 641, found 642"):
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

    from intake_laion_fmri import betas

    for name in betas.__all__:
        function = getattr(betas, name)
        if name.startswith("open_") or name == "roi_data":
            for parameter in inspect.signature(function).parameters.values():
                if parameter.default is not inspect.Parameter.empty:
                    check_argument(parameter.name, parameter.default)
                else:
                    check_argument(parameter.name, "sub-01")
