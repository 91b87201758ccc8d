"""GIfTI masks and FreeSurfer labels as other programs write them, and files of the other hemisphere."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from demo_files import surface_file

from intake_laion_fmri import open_rois
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning
from intake_laion_fmri.formats.freesurfer import read_label
from intake_laion_fmri.formats.gifti import read_func_gii

VALUES = np.array([0, 1, 0, 1, 1], np.float32)
INSIDE = [False, True, False, True, True]


def gifti(values: np.ndarray = VALUES, intent: str = "NIFTI_INTENT_NONE", **meta: str) -> bytes:
    kind = {"f": "NIFTI_TYPE_FLOAT32", "i": "NIFTI_TYPE_INT32"}[values.dtype.kind]
    array = nibabel.gifti.GiftiDataArray(values, intent=intent, datatype=kind)
    return nibabel.gifti.GiftiImage(darrays=[array], meta=nibabel.gifti.GiftiMetaData(meta)).to_bytes()


SAME = {
    "Endian of old nibabel": gifti().replace(b'"LittleEndian"', b'"GIFTI_ENDIAN_LITTLE"'),
    "Latin-1": gifti(Who="Müller").decode().replace("UTF-8", "ISO-8859-1").encode("latin-1"),
    "NaN in the medial wall": gifti(np.where(VALUES > 0, VALUES, np.float32(np.nan))),
    "no hemisphere": gifti(AnatomicalStructurePrimary=""),
    "other metadata": gifti(Name="CortexRight"),
}


@pytest.mark.parametrize("form", SAME)
def test_forms_of_one_mask(form: str) -> None:
    assert read_func_gii(SAME[form], name="a file", hemi="L").tolist() == INSIDE


@pytest.mark.parametrize("word", ["CortexRight", "CORTEX_RIGHT", "Right"])
def test_a_mask_of_the_other_hemisphere(word: str) -> None:
    content = gifti(AnatomicalStructurePrimary=word)
    assert read_func_gii(content, name="a file", hemi="R").tolist() == INSIDE
    assert read_func_gii(content, name="a file").tolist() == INSIDE
    with pytest.raises(DataIntegrityError, match=f"a file: expected hemisphere L, found .*{word}"):
        read_func_gii(content, name="a file", hemi="L")


def test_metadata_of_the_array_tell_the_hemisphere_too() -> None:
    text = gifti(AnatomicalStructurePrimary="CortexLeft").decode()
    start, stop = text.index("<MetaData>"), text.index("</MetaData>") + len("</MetaData>")
    data, metadata = text[:start] + "<MetaData />" + text[stop:], text[start:stop]
    inner = data.index("<MetaData />", data.index("<DataArray"))
    moved = data[:inner] + metadata + data[inner + len("<MetaData />") :]
    with pytest.raises(DataIntegrityError, match="expected hemisphere R"):
        read_func_gii(moved.encode(), name="a file", hemi="R")


def test_a_list_of_vertices_is_no_mask() -> None:
    content = gifti(np.array([5, 9, 13], np.int32), intent="NIFTI_INTENT_NODE_INDEX")
    with pytest.raises(DataIntegrityError, match="expected one number per vertex, found an array with the Intent"):
        read_func_gii(content, name="a file")


def test_hemispheres_that_were_mixed_up(own_tiny: Path) -> None:
    """The file is left out; it is an error where the ROI is asked for."""
    path = surface_file(own_tiny, "sub-01", "L", "PPA", ".func.gii")
    image = nibabel.load(path)
    image.meta["AnatomicalStructurePrimary"] = "CortexRight"
    path.write_bytes(image.to_bytes())
    with pytest.raises(DataIntegrityError, match=f"{path.name}: expected hemisphere L"):
        open_rois("sub-01", roi="PPA", format="func.gii", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match=rf"the ROI PPA \(.*{path.name}: expected hemisphere L"):
        found = open_rois("sub-01", format="func.gii", bucket=own_tiny)
    assert found["has_func_gii"].sel(roi="PPA").values.tolist() == [False, True]
    assert not found["in_roi_L"].sel(roi="PPA").any()
    assert found["in_roi_R"].sel(roi="PPA").any()


def test_where_no_number_of_vertices_is_the_most_common_all_are_left_out(own_tiny: Path) -> None:
    for number, path in enumerate(sorted((own_tiny / "derivatives/rois/sub-01").rglob("*_hemi-L_*.func.gii"))):
        path.write_bytes(gifti(np.zeros(600 + number % 2, np.float32)))
    with pytest.raises(DataIntegrityError, match=r"expected 60[01] vertices, as in .*, found 60[01]"):
        open_rois("sub-01", format="func.gii", hemi="L", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match="vertices"):
        found = open_rois("sub-01", format="func.gii", bucket=own_tiny)
    assert not found["has_func_gii"].sel(hemi="L").any()
    assert found["has_func_gii"].sel(hemi="R").all()


HEAD = "#!ascii label  , from subject sub-01 vox2ras=TkReg coords=white\n"


@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "-inf", "1e-05"])
def test_values_of_labels_are_taken_as_they_are(value: str) -> None:
    found = read_label(f"{HEAD}1\n5 -1.0 2.5 3.0 {value}\n".encode(), name="a label")
    assert found.vertices.tolist() == [5]
    np.testing.assert_array_equal(found.values, np.float32(value))


def test_a_comment_in_any_encoding() -> None:
    content = (HEAD.replace("sub-01", "Müller") + "1\n5 -1.0 2.5 3.0 0.5\n").encode("latin-1")
    assert read_label(content, name="a label").vertices.tolist() == [5]
