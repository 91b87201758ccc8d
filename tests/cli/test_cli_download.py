"""Copying to the data folder with the words of the data set's own package."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from intake_laion_fmri import config, layout
from intake_laion_fmri.cli.main import main

RUN = "sub-01/ses-01/func/sub-01_ses-01_task-images_run-0"
OTHERS = [
    *(f"stimuli/task-images_desc-{name}" for name in ("CLIP_embeddings.h5", "DINOv2_embeddings.h5", "captions.csv")),
    *(f"stimuli/task-images_desc-segmentations{end}" for end in (".h5", "_metadata.csv")),
    *(f"{RUN}{run}_echo-{echo}_part-mag_bold.nii.gz" for run in (1, 2) for echo in (1, 2)),
    *(f"{RUN}{run}_events.tsv" for run in (1, 2)),
    "derivatives/freesurfer/sub-01/surf/lh.white",
    "derivatives/freesurfer/sub-03/surf/lh.white",
]


def content(key: str) -> bytes:
    return gzip.compress(key.encode(), mtime=0) if key.endswith(".gz") else key.encode()


@pytest.fixture
def bucket(own_tiny: Path) -> Path:
    for key in OTHERS:
        path = own_tiny / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(key))
    return own_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    config.dataset_initialize(tmp_path / "data")
    return tmp_path / "data"


def run(bucket: Path, words: str) -> Result:
    return CliRunner().invoke(main, [*words.split(), "--bucket", str(bucket)])


@pytest.mark.parametrize(
    ("words", "copied"),
    [
        ("download-embeddings", ["stimuli/task-images_desc-CLIP_embeddings.h5", OTHERS[1]]),
        ("download-embeddings --model DINOv2", [OTHERS[1]]),
        ("download-captions", [OTHERS[2]]),
        ("download-segmentations", OTHERS[3:5]),
        ("download-raw --subject 01 --ses 1 --run 2 --echo 1", [OTHERS[7], OTHERS[10]]),
        ("download-raw --suffix bold --part mag --echo 1 2 --run 01", OTHERS[5:7]),
        ("download-raw", OTHERS[5:11]),
        ("download --subject 01 --ses 1 --include-freesurfer", [OTHERS[11]]),
        ("download --ses 1 --include-embeddings --include-freesurfer", [*OTHERS[:2], *OTHERS[11:]]),
        ("download --subject all --ses all --include-freesurfer", OTHERS[11:]),
        ("download --subject 01 03 --include-embeddings CLIP --suffix mask trials", [OTHERS[0]]),
        ("download --subject 01 --ses 1 --include-raw --task images", OTHERS[5:11]),
    ],
)
def test_what_is_copied(bucket: Path, folder: Path, words: str, copied: list[str]) -> None:
    """Of the trees that are large; `download` copies the data themselves too."""
    result = run(bucket, words)
    assert result.exit_code == 0, result.output
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert sorted(found & {*OTHERS}) == sorted(copied)
    masks = {layout.key("roi", subject=name, category="face", label="OFA") for name in ("sub-01", "sub-03")}
    if words.startswith("download --subject 01 03"):
        assert masks <= found
        assert not [name for name in found if name.endswith("statmap.nii.gz")]
    assert all((folder / key).read_bytes() == content(key) for key in copied)
    assert "files (" in result.output


def test_how_it_ends(bucket: Path, folder: Path) -> None:
    assert "Did you mean 'CLIP'" in (result := run(bucket, "download-embeddings --model clip")).output
    assert result.exit_code == 5
    assert run(bucket, "download --subject sub-02").exit_code == 5
    assert run(bucket, "download --ses 31").exit_code == 4
    assert run(bucket, "download --ses first").exit_code == 2
    assert run(bucket / "nowhere", "download-captions").exit_code == 5
    result = CliRunner().invoke(main, ["download-stimuli"])
    assert (result.exit_code, layout.REQUEST_URL in result.output) == (4, True)
    assert not list(folder.glob("[!.]*"))


def test_without_a_data_folder(bucket: Path) -> None:
    result = run(bucket, "download --subject sub-01")
    assert (result.exit_code, "config --data-dir FOLDER" in result.output) == (1, True)


def test_where_images_are_asked_for() -> None:
    result = CliRunner().invoke(main, ["request-access"])
    assert (result.exit_code, result.output.split()[-1]) == (0, layout.REQUEST_URL)
