"""How tests put a hostile file into a bucket, and what they expect of its reader."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from demo_files import betas_file, map_file, roi_file, session_file

from intake_laion_fmri import open_trials
from intake_laion_fmri.errors import DataIntegrityError

BOUND_BYTES = 512 * 1024 * 1024
"""No reading of a hostile file takes more memory beyond what it takes of a good one."""


def own_copy(bucket: Path, folder: Path) -> Path:
    """Copy a bucket by links: cheap, as long as files are replaced and not written into."""
    return Path(shutil.copytree(bucket, folder, copy_function=os.link))


def replace(path: Path, content: bytes | bytearray) -> None:
    path.unlink()
    path.write_bytes(content)


@contextmanager
def refused(path: Path, found: str = "") -> Iterator[None]:
    """What is read must be refused by an error that names the file and says what was found, on less than a page."""
    with pytest.raises(DataIntegrityError) as caught:
        yield
    text = str(caught.value)
    assert path.name in text
    assert re.search(found, text), text
    assert re.search("Fetch|Correct|Write|write|Remove", text), text
    assert len(text) < 2000


def mask_of(bucket: Path) -> Path:
    return map_file(bucket, "sub-01", "stat-rsquare_desc-R2mean")


def map_of(bucket: Path) -> Path:
    return map_file(bucket, "sub-01", "desc-Noiseceiling12rep")


def roi_of(bucket: Path) -> Path:
    return roi_file(bucket, "sub-01", "PPA")


def betas_of(bucket: Path) -> Path:
    return betas_file(bucket, "sub-01", "ses-01")


def session_map_of(bucket: Path) -> Path:
    return session_file(bucket, "sub-01", "ses-01", "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz")


def unpacked(path: Path) -> bytearray:
    return bytearray(gzip.decompress(path.read_bytes()))


def field(offset: int, form: str, *values: Any) -> Callable[[bytearray], None]:
    """Return what writes a field of a header."""

    def write(content: bytearray) -> None:
        struct.pack_into("<" + form, content, offset, *values)

    return write


def dims(*values: int) -> Callable[[bytearray], None]:
    return field(40, "8h", *values, *[1] * (8 - len(values)))


def header_of(shape: tuple[int, ...], *, offset: float = 352, datatype: int = 16, like: Path | None = None) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_sform(np.eye(4), code=1)  # without any orientation it would be refused for that
    content = unpacked(like)[:352] if like else bytearray(header.binaryblock + bytes(4))
    if not like:
        field(344, "4s", b"n+1")(content)
    dims(len(shape), *shape)(content)
    field(70, "h", datatype)(content)
    field(108, "f", offset)(content)
    return bytes(content)


def read_table(bucket: Path) -> Any:
    return open_trials("sub-01", bucket=bucket)
