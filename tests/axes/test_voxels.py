"""The voxel axis and the way back to a volume, against nibabel and plain loops."""

import itertools

import nibabel
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from intake_laion_fmri.axes.volumes import to_nifti
from intake_laion_fmri.axes.voxels import MASKS, VOXEL, VoxelAxis
from intake_laion_fmri.demo import subject_truth
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.layout import KINDS

# Rotated, with a negative axis and an offset.
AFFINE = np.array(
    [[-1.778, 0.05, -0.02, 90.25], [0.051, 1.7765, -0.06, -126.5], [0.018, 0.059, 1.7769, -71.75], [0, 0, 0, 1]]
)
SHAPE = (4, 5, 6)


def grid_of(shape: tuple[int, int, int] = SHAPE, affine: np.ndarray = AFFINE) -> Grid:
    return Grid(shape, tuple(np.asarray(affine, dtype=float).ravel().tolist()))


GRID = grid_of()
ATTRS = {"grid_shape": list(GRID.shape), "affine": list(GRID.affine)}

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
ENTRIES = st.floats(-300, 300, width=32)


# Grids


def test_grid_knows_its_size_and_matrix():
    assert GRID.size == 4 * 5 * 6
    np.testing.assert_array_equal(GRID.matrix(), AFFINE)
    assert grid_of((143, 143, 143)).size == 2_924_207


def test_grids_compare_and_hash_by_value():
    """Workers get copies of a grid, and Dask tokens must not depend on which one."""
    assert grid_of() == GRID
    assert hash(grid_of()) == hash(GRID)
    assert grid_of((5, 4, 6)) != GRID


def test_same_grid_does_not_differ():
    assert GRID.difference(grid_of()) is None


@pytest.mark.parametrize("shape", [(5, 4, 6), (4, 5, 7), (4, 5, 1)])
def test_other_shape_is_told_with_both(shape):
    assert GRID.difference(grid_of(shape)) == f"expected a grid of (4, 5, 6) voxels, found {shape}"


def moved(grid: Grid, voxels: float, axis: int) -> Grid:
    """Return a grid that is moved along one of its axes."""
    matrix = grid.matrix()
    matrix[:3, 3] += voxels * matrix[:3, axis]
    return grid_of(grid.shape, matrix.astype(np.float32))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("voxels", "verdict"),
    [(0.0, "same"), (0.04, "same"), (0.05, "same"), (0.06, "close"), (0.25, "close"), (0.26, "other"), (40.0, "other")],
)
def test_grids_are_compared_by_their_corners_in_voxels(voxels, verdict, sign, axis):
    """Up to 0.05 voxels they are the same, up to 0.25 they are taken for the same and it is said, whoever is first."""
    other = moved(GRID, sign * voxels, axis)
    for one, two in ((GRID, other), (other, GRID)):
        assert one.corner_distance(two) == pytest.approx(voxels, abs=1e-4)
        found = "other" if one.difference(two) else "close" if one.deviation(two) else "same"
        assert found == verdict
    if verdict == "close":
        assert f"is up to {voxels:.3g} voxels off" in GRID.deviation(other)


@pytest.mark.parametrize(
    ("size", "verdict"), [(1.7778, "same"), (1.7777, "same"), (1.7775, "close"), (1.7765, "close"), (1.776, "other")]
)
def test_another_size_of_voxels_counts_where_it_ends(size, verdict):
    """At the last corner of 143 voxels: the documentation gives their size as 1.778 and as 1.7778 mm."""
    one = grid_of((143, 143, 143), np.diag([-1.778, 1.778, 1.778, 1]))
    two = grid_of((143, 143, 143), np.diag([-size, size, size, 1]))
    assert one.corner_distance(two) == pytest.approx(142 * np.sqrt(3) * (1.778 - size) / 1.778)
    assert ("other" if one.difference(two) else "close" if one.deviation(two) else "same") == verdict


def test_a_rotation_counts_at_the_corners():
    angle = 0.001
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    one = grid_of((143, 143, 143), np.diag([2.0, 2, 2, 1]))
    two = grid_of((143, 143, 143), turn @ np.diag([2.0, 2, 2, 1]))
    assert one.corner_distance(two) == pytest.approx(142 * np.sqrt(2) * angle, rel=1e-3)
    assert one.deviation(two) is not None


def test_a_mirrored_grid_is_another():
    assert GRID.difference(grid_of(affine=AFFINE @ np.diag([-1, 1, 1, 1]))) is not None


def test_rounding_to_float32_is_no_difference():
    """Headers hold float32, and qforms are computed from it once more."""
    rounded = AFFINE.astype(np.float32)
    assert not np.array_equal(rounded, AFFINE)
    assert GRID.difference(grid_of(affine=rounded)) is None


def test_other_affine_is_told_with_both():
    affine = AFFINE.copy()
    affine[0, 3] = -90.25
    message = GRID.difference(grid_of(affine=affine))
    assert message is not None
    expected, found = message.split(", found ")
    assert found.endswith("voxels away")
    assert expected.startswith("expected the affine [[-1.778, 0.05, -0.02, 90.25], [")
    assert found.startswith("[[-1.778, 0.05, -0.02, -90.25], [")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entry", [0, 7, 15])
def test_affine_that_is_no_number_differs_from_all(bad, entry):
    """From itself too, and without a warning: a header full of NaN is no grid to trust."""
    affine = AFFINE.copy()
    affine.flat[entry] = bad
    broken = grid_of(affine=affine)
    assert "expected the affine" in str(GRID.difference(broken))
    assert "expected the affine" in str(broken.difference(GRID))
    assert "expected the affine" in str(broken.difference(broken))


# Masks


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, np.bool_])
def test_masks_take_every_type(name, dtype):
    values = [[0, 1], [1, 0]] if dtype is np.bool_ else [[0, 1], [7, 0]]
    inside = MASKS[name](np.array(values, dtype=dtype))
    assert inside.dtype == bool
    assert inside.tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anatomical", [False, False, False, True, True]),
        ("rsquare", [False, True, False, True, True]),
        ("rsquare_or_nan", [True, True, False, True, True]),
    ],
)
def test_masks_at_their_borders(name, expected):
    """NaN, negative values, both zeros and the smallest value: where the three masks differ."""
    assert MASKS[name](np.array([np.nan, -1, -0.0, 1e-30, 100], dtype=np.float32)).tolist() == expected
    assert MASKS[name](np.array([0.0, -np.inf], dtype=np.float32)).tolist() == [False, name != "anatomical"]


def test_mask_rules_name_a_kind_of_object_and_themselves():
    kinds = {"rsquare": "r2_mean", "anatomical": "brain_mask", "rsquare_or_nan": "r2_mean"}
    assert {name: rule.kind for name, rule in MASKS.items()} == kinds
    assert {rule.kind for rule in MASKS.values()} <= set(KINDS)
    assert len({rule.rule for rule in MASKS.values()}) == len(MASKS)


# Axes


@given(shape=SHAPES, data=st.data())
def test_axis_agrees_with_nibabel_and_nested_loops(shape, data):
    """C-order flat indices, their grid indices and millimetres, for any mask and affine."""
    mask = data.draw(hnp.arrays(bool, shape))
    affine = np.eye(4)
    affine[:3] = data.draw(hnp.arrays(np.float32, (3, 4), elements=ENTRIES))
    axis = VoxelAxis(grid_of(shape, affine), np.flatnonzero(mask))

    inside = [ijk for ijk in itertools.product(*map(range, shape)) if mask[ijk]]  # the last index runs fastest
    assert axis.index.tolist() == [(i * shape[1] + j) * shape[2] + k for i, j, k in inside]
    assert axis.index.tolist() == sorted(axis.index.tolist())
    assert len(axis) == len(inside)
    assert axis.ijk().T.tolist() == [list(ijk) for ijk in inside]
    assert (axis.ijk().shape, axis.ijk().dtype) == ((3, len(inside)), np.dtype(np.int32))
    expected = nibabel.affines.apply_affine(affine, np.array(inside, dtype=float).reshape(-1, 3)).T
    assert (axis.xyz().shape, axis.xyz().dtype) == ((3, len(inside)), np.dtype(np.float32))
    np.testing.assert_allclose(axis.xyz(), expected, rtol=1e-6, atol=1e-4)


def test_axis_reaches_the_corner_of_the_real_grid():
    """int32 holds the indices of 143 voxels a side, and float32 their positions to a micrometre."""
    grid = grid_of((143, 143, 143))
    axis = VoxelAxis(grid, np.array([0, 142, 143, grid.size - 1]))
    assert axis.ijk().T.tolist() == [[0, 0, 0], [0, 0, 142], [0, 1, 0], [142, 142, 142]]
    np.testing.assert_allclose(axis.xyz()[:, -1], (AFFINE @ [142, 142, 142, 1])[:3], atol=1e-3)


@given(data=st.data())
def test_selecting_voxels_keeps_their_numbers(data):
    """A voxel means the same whatever else is selected."""
    axis = VoxelAxis(GRID, np.flatnonzero(data.draw(hnp.arrays(bool, GRID.size))))
    chosen = data.draw(hnp.arrays(bool, len(axis)))
    some = VoxelAxis(GRID, axis.index[chosen])
    np.testing.assert_array_equal(some.ijk(), axis.ijk()[:, chosen])
    np.testing.assert_array_equal(some.xyz(), axis.xyz()[:, chosen])


@pytest.mark.parametrize("index", [[3, 7, 119], []], ids=["voxels", "none"])
def test_coordinates_have_the_dtypes_and_units_of_the_contract(index):
    axis = VoxelAxis(GRID, np.array(index, dtype=np.int64))
    coordinates = axis.coordinates("T1w")
    assert list(coordinates) == ["voxel", "i", "j", "k", "x", "y", "z"]
    for name, (dims, values, attrs) in coordinates.items():
        assert dims == (VOXEL,)
        assert values.shape == (len(index),)
        assert values.dtype == (np.int64 if name == VOXEL else np.int32 if name in "ijk" else np.float32)
        assert attrs["long_name"]
        assert attrs.get("units") == ("mm" if name in "xyz" else None)
        assert ("T1w" in attrs["long_name"]) == (name in "xyz")
    np.testing.assert_array_equal(coordinates["voxel"][1], index)
    np.testing.assert_array_equal([coordinates[name][1] for name in "ijk"], axis.ijk())
    np.testing.assert_array_equal([coordinates[name][1] for name in "xyz"], axis.xyz())


# Back to a volume


def array_of(values, index, dims=("voxel",), attrs=ATTRS) -> xr.DataArray:
    return xr.DataArray(values, dims=dims, coords={"voxel": index}, attrs=attrs)


def data_of(image: nibabel.Nifti1Image) -> np.ndarray:
    """What a reader of the saved file sees."""
    return np.asarray(nibabel.Nifti1Image.from_bytes(image.to_bytes()).dataobj)


@given(shape=SHAPES, data=st.data())
def test_values_come_back_at_their_voxels(shape, data):
    """By nibabel, after being written and read; in any order of voxels; the rest is the fill."""
    mask = data.draw(hnp.arrays(bool, shape))
    index = np.array(data.draw(st.permutations(np.flatnonzero(mask).tolist())), dtype=np.int64)
    values = data.draw(hnp.arrays(np.float32, len(index), elements=st.floats(width=32)))
    fill = data.draw(st.sampled_from([np.nan, 0.0, -1.5]))
    attrs = {"grid_shape": list(shape), "affine": list(GRID.affine)}
    image = to_nifti(array_of(values, index, attrs=attrs), fill=fill)

    expected = np.full(shape, fill, dtype=np.float32)
    for position, value in zip(index.tolist(), values, strict=True):
        expected[position // (shape[1] * shape[2]), position // shape[2] % shape[1], position % shape[2]] = value
    np.testing.assert_array_equal(data_of(image), expected)
    assert image.get_data_dtype() == np.float32


@pytest.mark.parametrize("order", [("trial", "voxel"), ("voxel", "trial")])
@given(data=st.data())
def test_second_dimension_becomes_the_fourth_of_the_volume(order, data):
    """Either order of dimensions gives the same image; any name will do."""
    index = np.flatnonzero(data.draw(hnp.arrays(bool, GRID.size)))
    n = data.draw(st.integers(1, 4))
    values = data.draw(hnp.arrays(np.float32, (n, len(index)), elements=st.floats(-9, 9, width=32)))
    array = array_of(values, index, ("trial", "voxel")).transpose(*order)
    image = to_nifti(array, fill=-99)
    volumes = data_of(image)
    assert volumes.shape == (*SHAPE, n)
    for k in range(n):
        expected = np.full(GRID.size, -99, dtype=np.float32)
        expected[index] = values[k]
        np.testing.assert_array_equal(volumes[..., k].ravel(order="C"), expected)


def test_image_knows_where_it_lies():
    """nilearn and viewers read the affine from the sform, and millimetres from the units."""
    image = nibabel.Nifti1Image.from_bytes(to_nifti(array_of([1.0, 2.0], [3, 40])).to_bytes())
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header["sform_code"] > 0
    np.testing.assert_allclose(image.header.get_zooms(), np.sqrt((AFFINE[:3, :3] ** 2).sum(axis=0)), rtol=1e-5)
    axis = VoxelAxis(GRID, np.array([3, 40]))
    found = np.argwhere(np.isfinite(image.get_fdata()))
    np.testing.assert_allclose(nibabel.affines.apply_affine(image.affine, found).T, axis.xyz(), atol=1e-3)


def test_unselected_voxels_are_nan_by_default():
    """Zero would pass for a measurement."""
    volume = data_of(to_nifti(array_of([1.0], [0])))
    assert np.isnan(volume).sum() == GRID.size - 1


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.bool_, np.float64, ">f4"])
def test_any_real_number_becomes_float32(dtype):
    image = to_nifti(array_of(np.array([0, 1], dtype=dtype), [5, 6]), fill=0)
    assert image.get_data_dtype() == np.float32
    assert data_of(image).ravel()[[4, 5, 6, 7]].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64])
def test_voxel_numbers_of_any_integer_dtype_work(dtype):
    """Other stores narrow an index."""
    assert data_of(to_nifti(array_of([7.0], np.array([119], dtype=dtype)), fill=0))[-1, -1, -1] == 7


def test_selection_that_leaves_nothing_gives_an_empty_image():
    empty = array_of(np.empty(0), np.empty(0, dtype=np.int64))
    assert np.isnan(data_of(to_nifti(empty))).all()


@pytest.fixture
def dataset() -> xr.Dataset:
    rng = np.random.default_rng(1)
    index = np.flatnonzero(rng.random(GRID.size) < 0.4)
    return xr.Dataset(
        {"betas": (("trial", "voxel"), rng.standard_normal((6, len(index))).astype(np.float32))},
        coords={"voxel": index, "trial": np.arange(6), "session": ("trial", list("aabbcc")), "subject": "sub-01"},
        attrs=ATTRS,
    ).chunk(trial=2)


def test_reductions_go_back_with_like(dataset):
    """The grid survives whatever xarray did to the attributes."""
    expected = dataset["betas"].values.mean(axis=0)
    for mean in (dataset["betas"].mean("trial"), dataset["betas"].mean("trial", keep_attrs=False) * 1):
        volume = data_of(to_nifti(mean, like=dataset))
        np.testing.assert_allclose(volume.ravel()[dataset["voxel"].values], expected, rtol=1e-6)
        assert np.isfinite(volume).sum() == dataset.sizes["voxel"]


def test_grouped_and_selected_values_go_back(dataset):
    """A group's name becomes the fourth dimension; a selection of voxels keeps its places."""
    chosen = dataset.isel(voxel=slice(3, 20, 4))
    per_session = chosen["betas"].compute().groupby("session").mean()
    assert per_session.dims == ("session", "voxel")
    volumes = data_of(to_nifti(per_session, like=dataset, fill=0))
    assert volumes.shape == (*SHAPE, 3)
    np.testing.assert_allclose(
        volumes.reshape(-1, 3)[chosen["voxel"].values, 1], chosen["betas"].values[2:4].mean(axis=0), rtol=1e-6
    )


def test_one_trial_goes_back_as_one_volume(dataset):
    volume = data_of(to_nifti(dataset["betas"].isel(trial=4), like=dataset, fill=0))
    assert volume.shape == SHAPE
    np.testing.assert_array_equal(volume.ravel()[dataset["voxel"].values], dataset["betas"].values[4])


def test_grid_of_like_is_compared_with_own_attributes(dataset):
    values = array_of([1.0], [0], attrs={"grid_shape": [1, 1, 1], "affine": np.eye(4).ravel().tolist()})
    with pytest.raises(ValueError, match="a different grid than like="):
        to_nifti(values, like=dataset)


@pytest.mark.parametrize("convert", [list, tuple, np.array], ids=["list", "tuple", "array"])
def test_attributes_come_back_from_files_in_any_form(convert):
    """netCDF gives arrays, Zarr lists."""
    attrs = {"grid_shape": convert(list(SHAPE)), "affine": convert(list(GRID.affine))}
    assert to_nifti(array_of([1.0], [0], attrs=attrs)).shape == SHAPE


def test_input_is_not_changed():
    values = array_of(np.array([[1.0, 2.0]]), [3, 4], ("trial", "voxel"))
    before = values.copy(deep=True)
    to_nifti(values)
    xr.testing.assert_identical(values, before)


@pytest.mark.parametrize(
    ("values", "dims"),
    [
        (array_of([1.0], [3]).isel(voxel=0), r"\(\)"),
        (array_of(np.zeros((2, 3, 1)), [3], ("a", "b", "voxel")), r"\('a', 'b', 'voxel'\)"),
        (xr.DataArray([1.0], dims="voxel", attrs=ATTRS), r"\('voxel',\)"),
        (xr.DataArray([1.0], dims="x", coords={"voxel": ("x", [3])}, attrs=ATTRS), r"\('x',\)"),
        (xr.DataArray([1.0], dims="trial", coords={"trial": [3]}, attrs=ATTRS), r"\('trial',\)"),
    ],
    ids=["scalar", "three", "no coordinate", "other dimension", "trials"],
)
def test_other_dimensions_are_refused(values, dims):
    with pytest.raises(ValueError, match=f"Expected dimensions .*; found {dims}"):
        to_nifti(values)


@pytest.mark.parametrize("attrs", [{}, {"grid_shape": [4, 5, 6]}, {"affine": list(GRID.affine)}])
@pytest.mark.parametrize("through", ["attrs", "like"])
def test_unknown_grid_is_refused_with_the_remedy(attrs, through):
    values = array_of([1.0], [3], attrs=attrs if through == "attrs" else ATTRS)
    like = xr.Dataset(attrs=attrs) if through == "like" else None
    with pytest.raises(ValueError, match="The grid is unknown: pass like="):
        to_nifti(values, like)


@pytest.mark.parametrize("broken", [{"grid_shape": [4, 30]}, {"grid_shape": [4, 5, 6, 1]}, {"affine": [1.0] * 12}])
def test_attributes_that_are_no_grid_are_refused(broken):
    """A shape of two numbers would make an image of two dimensions."""
    with pytest.raises(ValueError, match="The grid is unknown"):
        to_nifti(array_of([1.0], [3], attrs=ATTRS | broken))


@pytest.mark.parametrize("index", [[0, 120], [-1, 5], [10**12, 3]])
def test_voxels_outside_the_grid_are_refused(index):
    """A negative index would count from the end, and land in the image."""
    with pytest.raises(ValueError, match=rf"Voxels {min(index)}..{max(index)} do not fit in a grid of \(4, 5, 6\)"):
        to_nifti(array_of([1.0, 2.0], index))


def test_voxels_that_come_twice_are_refused():
    """Two subjects stacked along voxel would overwrite each other without a word."""
    one, other = array_of([1.0, 2.0], [3, 4]), array_of([5.0, 6.0], [4, 5])
    with pytest.raises(ValueError, match="occur twice"):
        to_nifti(xr.concat([one, other], dim="voxel", combine_attrs="override"))


@pytest.mark.parametrize("index", [[3.0, 4.0], [3.0, np.nan], ["3", "4"], [True, False]], ids=repr)
def test_voxel_labels_that_are_no_indices_are_refused(index):
    with pytest.raises(ValueError, match="Expected 'voxel' to hold flat indices into the grid, found"):
        to_nifti(array_of([1.0, 2.0], index))


@pytest.mark.parametrize("values", [np.zeros(3), array_of([1.0], [3]).to_dataset(name="betas"), None, [1.0]], ids=type)
def test_what_is_no_data_array_is_refused_with_the_remedy(values):
    """`to_nifti(ds.mean("trial"))`, a Dataset, is an easy slip."""
    with pytest.raises(TypeError, match=rf"Expected a DataArray, .*; found {type(values).__name__}"):
        to_nifti(values)


def test_demo_mask_goes_through_and_back(tiny):
    """The R2 mask of the demo bucket, put back as a volume, is that very mask on that very grid."""
    truth = subject_truth("sub-01", scale="tiny")
    source = nibabel.load(
        tiny
        / "derivatives/glmsingle-tedana/sub-01/sub-01_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"
    )
    inside = MASKS["rsquare"](np.asarray(source.dataobj))
    axis = VoxelAxis(grid_of(source.shape, source.affine), np.flatnonzero(inside))
    np.testing.assert_array_equal(axis.index, truth.rsquare)
    attrs = {"grid_shape": list(axis.grid.shape), "affine": list(axis.grid.affine)}
    back = to_nifti(array_of(np.ones(len(axis)), axis.index, attrs=attrs), fill=0)
    np.testing.assert_array_equal(data_of(back), inside)
    np.testing.assert_array_equal(back.affine, source.affine)
