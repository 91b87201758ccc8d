"""Folders as people have them: links, circles of links, pipes, and files that stand for contents not fetched."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from intake_laion_fmri import layout, open_betas, open_trials
from intake_laion_fmri.discovery import get_rois, get_sessions
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.remote.access import open_bucket

GIT_ANNEX = b"/annex/objects/MD5E-s1234--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n"
GIT_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
GLM = f"{layout.BETAS_ROOT}/sub-01"
ROIS = f"{layout.ROIS_ROOT}/sub-01"
CEILING = layout.key("noise_ceiling", subject="sub-01", map="4rep")
BETAS = layout.key("betas", subject="sub-01", session="ses-02")
TABLE = layout.key("trials", subject="sub-01", session="ses-02")


def elsewhere(folder: Path, other: Path) -> None:
    """Move a folder away, and leave a link to it."""
    other.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, other)
    folder.symlink_to(other)


def test_folders_behind_links(tiny: Path, own_tiny: Path, tmp_path: Path) -> None:
    """Sessions on another disk are sessions."""
    elsewhere(own_tiny / GLM / "ses-02", tmp_path / "disk/two")
    elsewhere(own_tiny / ROIS / "face", tmp_path / "disk/face")
    elsewhere(own_tiny / layout.ROIS_ROOT / "sub-03", tmp_path / "disk/rois-of-three")
    assert get_sessions("sub-01", bucket=own_tiny) == ["ses-01", "ses-02", "ses-03"]
    assert get_rois("sub-01", bucket=own_tiny) == get_rois("sub-01", bucket=tiny)
    found = open_betas("sub-01", roi="face", bucket=own_tiny)
    expected = open_betas("sub-01", roi="face", bucket=tiny)
    np.testing.assert_array_equal(found.betas.values, expected.betas.values)
    assert open_bucket(own_tiny).find("").keys() == open_bucket(tiny).find("").keys()


def test_links_in_circles(own_tiny: Path) -> None:
    """Each folder is gone through once on the way down; a link to the top of the disk leads nowhere."""
    expected = open_bucket(own_tiny).find("").keys()
    for name, target in {"up": "..", "self": ".", "top": "/", "loop": "loop", "home": str(own_tiny)}.items():
        (own_tiny / GLM / "ses-01" / name).symlink_to(target)
    (own_tiny / GLM / "ses-01/other").symlink_to("../ses-02")
    (own_tiny / GLM / "ses-02/other").symlink_to("../ses-01")
    found = open_bucket(own_tiny).find("").keys()
    assert expected <= found
    assert {key for key in found - expected if "/other/" not in key} == set()
    assert get_sessions("sub-01", bucket=own_tiny) == ["ses-01", "ses-02", "ses-03"]


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)  # a socket's path may have about 100 bytes
        try:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def put_folder(path: Path) -> None:
    path.mkdir()


def put_dangling_link(path: Path) -> None:
    path.symlink_to("../../../.git/annex/objects/xx/yy/MD5E-s1--1.nii.gz")


def put_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def put_pointer(path: Path) -> None:
    path.write_bytes(GIT_ANNEX)


def put_lfs_pointer(path: Path) -> None:
    path.write_bytes(GIT_LFS)


INSTEAD = {
    put_pipe: "it is a named pipe: expected a file",
    put_socket: "it is a socket: expected a file",
    put_folder: "it is a folder: expected a file",
    put_dangling_link: "which does not exist: fetch it with 'datalad get'",
    put_link_to_itself: "which does not exist: repair the link",
    put_pointer: "it is a git-annex pointer.*'datalad get'",
    put_lfs_pointer: "it is a Git LFS pointer.*'git lfs pull'",
}


@pytest.mark.parametrize(("put", "reason"), INSTEAD.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_something_else_in_a_files_place(own_tiny: Path, put: object, reason: str) -> None:
    """Of something optional it counts as absent; of something that is needed the error says what is there."""
    for key in (CEILING, TABLE):
        (own_tiny / key).unlink()
        put(own_tiny / key)
    with pytest.warns(MissingFileWarning, match="nc_4rep"):
        ds = open_betas("sub-01", roi="face", session=1, bucket=own_tiny)
    assert "nc_4rep" not in ds.coords
    with pytest.raises(NotInBucketError, match=reason):
        open_trials("sub-01", session=2, bucket=own_tiny)


def test_betas_that_were_not_fetched(own_tiny: Path) -> None:
    (own_tiny / BETAS).write_bytes(GIT_ANNEX)
    assert get_sessions("sub-01", bucket=own_tiny) == ["ses-01", "ses-03"]


def test_pipe_is_never_opened(own_tiny: Path) -> None:
    """Not even where nobody has listed it."""
    (own_tiny / TABLE).unlink()
    os.mkfifo(own_tiny / TABLE)
    with pytest.raises(DataIntegrityError, match="named pipe: expected a file"):
        open_bucket(own_tiny).read(TABLE)


@pytest.mark.parametrize("longer", [False, True])
def test_small_file_replaced_since_it_was_listed(own_tiny: Path, longer: bool) -> None:
    """The same size or not: what is read is what was listed, or an error."""
    bucket = open_bucket(own_tiny)
    info = bucket.find(GLM)[TABLE]
    path = own_tiny / TABLE
    content = path.read_bytes().replace(b"ses-02", b"ses-03") + b"x" * longer
    path.write_bytes(content)
    os.utime(path, (1, 1))
    with pytest.raises(DataIntegrityError, match="was replaced: expected"):
        bucket.fetch([info])


@pytest.mark.parametrize("given", ["bucket", "store"])
def test_file_given_as_a_folder(tiny: Path, tmp_path: Path, given: str) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    arguments = {"bucket": tiny, given: file}
    with pytest.raises(FileNotFoundError, match="file"):
        open_betas("sub-01", **arguments)


def test_bucket_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(NotInBucketError, match=r"file' is a file: expected the folder of a bucket.*'bucket'"):
        open_betas("sub-01", bucket=file)
