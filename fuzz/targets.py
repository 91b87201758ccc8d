"""What is fuzzed: each function takes bytes, and raises what a fuzzer is to report.

A reader may give a result or raise `DataIntegrityError` that names the file on less than a page; the expressions and
names that users give may raise `ValueError`. Anything else is a finding, and so is a result that an oracle contradicts.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.labels import parse_label
from intake_laion_fmri.axes.rois import RoiExpression, RoiMembership
from intake_laion_fmri.axes.trial_table import read_trials
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.freesurfer import read_label
from intake_laion_fmri.formats.gifti import read_func_gii
from intake_laion_fmri.formats.grid import Gather
from intake_laion_fmri.formats.nifti import VolumeReader
from intake_laion_fmri.splits import load_split

__all__ = ["TARGETS", "seeds"]

NAME = "the file"
LONGEST = 3000
"""Characters of a message, at most."""

ENTITIES = {"subject": "sub-01", "session": "ses-01", "label": "FFA-1", "hemi": "L", "side": "lh"}
"""What a key of a kind needs; other entities are any word."""


class FindingError(AssertionError):
    """A property does not hold."""


@contextmanager
def _refusals(kind: type[Exception] = DataIntegrityError, name: str = NAME, longest: int = LONGEST) -> Iterator[None]:
    try:
        yield
    except kind as error:
        if name not in str(error) or len(str(error)) > longest:
            raise FindingError(f"a message without {name!r}, or too long") from error


def packed(data: bytes) -> None:
    """Read a packed NIfTI, as it is."""
    with _refusals():
        reader = VolumeReader(io.BytesIO(data), name=NAME)
        grid = reader.header.grid
        if grid.size * reader.header.n_volumes > 1_000_000:
            reader.where(lambda values: values > 0)
            return
        found = reader.take(Gather.from_voxels(np.arange(grid.size), grid.shape), range(reader.header.n_volumes))
        plain = gzip.decompress(data)  # Python's own gzip must take whatever was taken to its end
        with np.errstate(all="ignore"):
            cls = (
                nibabel.Nifti2Image if reader.header.vox_offset >= 544 and plain[4:7] == b"n+2" else nibabel.Nifti1Image
            )
            values = np.asarray(cls.from_bytes(plain).dataobj, dtype=np.float32)
        expected = values.reshape(*grid.shape, -1, order="F").reshape(grid.size, -1).T
        if not np.array_equal(found, expected, equal_nan=True):
            raise FindingError("other values than nibabel's")


def nifti(data: bytes) -> None:
    """Read a NIfTI that is packed here: header, extensions, values."""
    packed(gzip.compress(data, 0, mtime=0))


def table(data: bytes) -> None:
    """Read a trial table."""
    with _refusals():
        found = read_trials(data, name=NAME, session="ses-01", participant="p01")
        if found["beta_index"].tolist() != list(range(len(found))) or not all(map(parse_label, found["label"])):
            raise FindingError("a table with a hole")


def label(data: bytes) -> None:
    """Read a FreeSurfer label."""
    with _refusals():
        found = read_label(data, name=NAME, n_vertices=1000)
        lines = [line.split() for line in re.split(r"\r\n|\r|\n", data.decode("utf-8-sig"))[2:] if line.strip()]
        if [int(line[0]) for line in lines] != found.vertices.tolist() or not np.isfinite(found.xyz).all():
            raise FindingError("other vertices than in the file")


def func_gii(data: bytes) -> None:
    """Read a GIfTI mask."""
    with _refusals():
        if not len(read_func_gii(data, name=NAME)):
            raise FindingError("a mask without a vertex")


def expression(data: bytes) -> None:
    """Select by an ROI expression."""
    text = data.decode("utf-8", "replace")
    names = ("FFA1", "OFA", "PPA")
    membership = RoiMembership(names, ("face", "face", "place"), np.eye(3, 5, dtype=bool))
    with _refusals(ValueError, name="", longest=LONGEST + 12 * len(text)):  # what a user writes is shown to them
        membership.select(RoiExpression.parse(text), where="a subject")


def split(data: bytes) -> None:
    """Read a split file."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "shared/tau.json"
        path.parent.mkdir()
        path.write_bytes(data)
        with _refusals(name=path.name):
            found = load_split("tau", splits=folder)
            if len(found.variants[0].train_ids) != json.loads(data)["n_train"]:
                raise FindingError("other labels than in the file")


def key(data: bytes) -> None:
    """Parse a key of a listing."""
    text = data.decode("utf-8", "replace")
    parsed = layout.parse_key(text)
    if parsed and (layout.key(parsed.kind, **parsed.entities) != text or ".." in text or not text.isascii()):
        raise FindingError("another key than was given")


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (packed, nifti, table, label, func_gii, expression, split, key)
}


def seeds(target: str) -> list[bytes]:
    """Return small valid inputs of a target."""
    if target in ("nifti", "packed"):
        plain = [_volume(cls, dtype) for cls in (nibabel.Nifti1Image, nibabel.Nifti2Image) for dtype in ("<f4", ">i2")]
        return plain if target == "nifti" else [gzip.compress(one, 6, mtime=0) for one in plain]
    split_file = {
        "name": "tau", "pool": "x", "splitter": "s", "params": {"a": [1]}, "n_train": 1, "n_test": 1,
        "variants": [{"variant_id": 0, "train_ids": ["a"], "test_ids": ["b"]}],
    }  # fmt: skip
    rows = "ses-01\t1\t0\tshared_12rep_LAION_a.jpg\nses-01\t2\t1\tshared_4rep_OOD_shape_b.png\n"
    mask = [
        nibabel.gifti.GiftiImage(
            darrays=[nibabel.gifti.GiftiDataArray(np.array([0, 1, 1], "f4"), encoding=encoding, intent=0)]
        ).to_bytes()
        for encoding in ("GIFTI_ENCODING_ASCII", "GIFTI_ENCODING_B64BIN", "GIFTI_ENCODING_B64GZ")
    ]
    known = {
        "table": [f"session\trun\tbeta_index\tlabel\n{rows}".encode()],
        "label": [b"#!ascii label\n2\n3  1.0 -2.0 3.0 0.5\n7  1e3 .5 3 1\n"],
        "func_gii": mask,
        "expression": [b"face - (FFA1 | PPA) & all"],
        "split": [json.dumps(split_file).encode()],
        "key": [
            kind.template.format_map(
                {**dict.fromkeys(re.findall(r"{(\w+)}", kind.template), "x1"), **ENTITIES}
            ).encode()
            for kind in layout.KINDS.values()
        ],
    }
    return known[target]


def _volume(cls: type[nibabel.Nifti1Image], dtype: str) -> bytes:
    values = np.arange(12, dtype=dtype).reshape(2, 2, 3)
    header = cls.header_class(endianness=dtype[0])
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_sform(np.eye(4), code=1)
    header["magic"] = b"n+1" if cls is nibabel.Nifti1Image else b"n+2\0\r\n\x1a\n"
    header["vox_offset"] = header.template_dtype.itemsize + 4
    block: bytes = header.binaryblock
    return block + bytes(4) + values.tobytes(order="F")
