"""The folder with the data, as later processes know it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from intake_laion_fmri import open_betas
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.config import dataset_initialize, get_data_dir, set_data_dir
from intake_laion_fmri.errors import DataDirNotSetError, MissingFileWarning
from intake_laion_fmri.remote import data_folder
from intake_laion_fmri.remote.access import MIRROR_VARIABLE, open_bucket


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is written; neither it nor its folder are there yet."""
    monkeypatch.setenv("LAION_FMRI_CONFIG", str(tmp_path / "settings"))
    return tmp_path / "settings" / "settings.json"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be another process."""
    monkeypatch.setattr(data_folder, "_data_dir", None)


def mirror_of(bucket: Path) -> Path | None:
    mirror = open_bucket(bucket).copies.mirror
    return mirror and mirror.path


def test_a_later_process_knows_it(
    folder: Path, settings: Path, tiny: Path, tmp_path: Path, python_environment: dict[str, str]
) -> None:
    """Named relative to a working directory, read elsewhere."""
    assert set_data_dir is dataset_initialize
    environment = python_environment | {"LAION_FMRI_CONFIG": str(settings.parent)}
    call = "from intake_laion_fmri.config import dataset_initialize, get_data_dir\n"
    subprocess.run(
        [sys.executable, "-c", f"{call}dataset_initialize('data')"], cwd=tmp_path, env=environment, check=True
    )
    found = subprocess.run(
        [sys.executable, "-c", f"{call}print(repr(get_data_dir()))"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == repr(str(folder))
    assert mirror_of(tiny) == folder
    assert [path.name for path in settings.parent.iterdir()] == ["settings.json"]


def test_what_goes_before_it(
    folder: Path, settings: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process, then the environment, then an earlier process."""
    for name in ("environment", "now"):
        (tmp_path / name).mkdir()
    assert mirror_of(tiny) is None
    dataset_initialize(folder)
    forget(monkeypatch)
    assert (mirror_of(tiny), get_data_dir()) == (folder, str(folder))
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "environment"))
    assert (mirror_of(tiny), get_data_dir()) == (tmp_path / "environment", str(folder))
    dataset_initialize(tmp_path / "now")
    assert mirror_of(tiny) == tmp_path / "now"


def test_it_is_gone(folder: Path, settings: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is not mounted: the bucket is read, with a warning that names the file to change."""
    dataset_initialize(folder)
    forget(monkeypatch)
    folder.rmdir()
    with pytest.warns(MissingFileWarning, match="data is not there: the bucket alone is read.*settings.json"):
        assert mirror_of(tiny) is None
    with pytest.warns(MissingFileWarning):
        assert open_betas("sub-01", session=1, roi="FFA1", bucket=tiny).sizes["voxel"] > 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"data_dir": 3}', '{"data_dir": "not/absolute"}', "\udc80"])
def test_settings_that_are_none(settings: Path, folder: Path, tiny: Path, text: str) -> None:
    """They count as absent, and are not written over unless they are empty."""
    settings.parent.mkdir()
    content = text.encode("utf-8", "surrogateescape")
    settings.write_bytes(content)
    assert mirror_of(tiny) is None
    with pytest.raises(DataDirNotSetError, match="config --data-dir"):
        get_data_dir()
    if not text:
        dataset_initialize(folder)
        assert json.loads(settings.read_bytes())["data_dir"] == str(folder)
        return
    with pytest.warns(UserWarning, match="set for this process only and was not saved: .*is not the settings of this"):
        dataset_initialize(folder)
    assert (settings.read_bytes(), get_data_dir()) == (content, str(folder))


def test_no_such_folder(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="create the folder first"):
        dataset_initialize(tmp_path / "absent")
    with pytest.raises(NotADirectoryError):
        dataset_initialize(tmp_path / "file")
    assert not (tmp_path / "absent").exists()
    assert not settings.exists()


def test_no_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAION_FMRI_CONFIG")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert data_folder.kept_data_dir() is None
    with pytest.warns(UserWarning, match="not saved: the home folder is unknown"):
        dataset_initialize(folder)
    assert get_data_dir() == str(folder)


def test_the_command(folder: Path, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    assert "No data folder is set" in run(main, ["config"]).output
    assert json.loads(run(main, ["config", "--json"]).output) == {"data_dir": None, "settings": str(settings)}
    result = run(main, ["config", "--data-dir", str(folder)])
    assert (result.exit_code, result.output) == (0, f"{folder}\n")
    forget(monkeypatch)
    assert run(main, ["config"]).output == f"{folder}\n"
    folder.rmdir()
    assert run(main, ["config"]).output == f"{folder} (does not exist)\n"
    result = run(main, ["config", "--data-dir", str(folder)])
    assert (result.exit_code, "does not exist" in result.output) == (2, True)
    settings.write_text("mine")
    folder.mkdir()
    result = run(main, ["config", "--data-dir", str(folder)])
    assert result.exit_code == 1
    assert "not saved" in result.output
    assert settings.read_text() == "mine"
