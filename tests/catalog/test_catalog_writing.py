"""What `catalog write` and `store catalog` write: over nothing of others, nothing that runs, no secret."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import intake
import pytest
import xarray as xr
import yaml
import zarr
from click.testing import CliRunner
from packaging.version import Version

from intake_laion_fmri import open_betas, open_catalog
from intake_laion_fmri.building.contents import store_info
from intake_laion_fmri.catalog.files import ROOT_FILE, V2_FILE, catalog_files, write_file, write_files
from intake_laion_fmri.catalog.inventory import INVENTORY_FILE, catalog_folder, read_inventory
from intake_laion_fmri.catalog.store_file import store_catalog
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.remote.access import open_bucket, open_store

PW = "hunter2secret"
EVIL = "{{ lipsum.__globals__.os.mknod('witness') }}"
OTHERS = {
    ROOT_FILE: "sources: {mine: {driver: csv}}\n# Written by `intake-laion-fmri catalog write`, then by me\n",
    V2_FILE: "version: 2\n",
    "sub-01.yaml": "# Run `intake-laion-fmri catalog write` to make this anew\n",
    INVENTORY_FILE: '{"source": "my own", "things": {}}',
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_others_are_not_written_over(tmp_path: Path, name: str) -> None:
    """One of them, and nothing is written at all; the message names it."""
    (tmp_path / name).write_text(OTHERS[name])
    done = CliRunner().invoke(main, ["catalog", "write", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{tmp_path / name} is not " in done.output
    assert "nothing is written there" in done.output
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == OTHERS[name]


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link"])
def test_what_is_no_file_is_not_written_over(tmp_path: Path, kind: str) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    if kind == "folder":
        (out / ROOT_FILE).mkdir()
    else:
        (out / ROOT_FILE).symlink_to(victim)
        if kind == "link":
            victim.write_text("precious")
    with pytest.raises(FileExistsError, match=r"laion_fmri\.yaml is not a catalog that this package wrote"):
        write_files(catalog_files(read_inventory(catalog_folder())), out)
    assert os.listdir(out) == [ROOT_FILE]
    assert kind != "link" or victim.read_text() == "precious"


def test_files_of_others_are_not_removed(tmp_path: Path) -> None:
    """Those of subjects that are gone, and were written here, are."""
    files = catalog_files(read_inventory(catalog_folder()))
    write_files(files, tmp_path)
    (tmp_path / "sub-98.yaml").write_text(files["sub-01.yaml"])
    (tmp_path / "sub-99.yaml").write_text(OTHERS["sub-01.yaml"])
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ROOT_FILE).write_text("")  # empty: nobody's
    touched = write_files(files, tmp_path)
    assert [path.name for path in touched] == [ROOT_FILE, "sub-98.yaml"]
    assert {path.name for path in tmp_path.iterdir()} == {*files, "sub-99.yaml", "notes.txt"}


def test_a_catalog_of_a_store_is_not_written_over_others(own_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "my.yaml"
    command = ["store", "catalog", str(own_store), "--out", str(out)]
    for _ in range(2):
        assert CliRunner().invoke(main, command).exit_code == 0
    out.write_text("mine")
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "my.yaml is not a catalog that this package wrote" in done.output
    assert out.read_text() == "mine"


def test_a_store_with_a_template_in_its_path(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intake renders what is in the file: it gives the path, and runs nothing."""
    monkeypatch.chdir(tmp_path)
    store = tmp_path / EVIL / "{%{{{.zarr"
    shutil.copytree(tiny_store, store)
    write_file(tmp_path / "store.yaml", store_catalog(store_info(open_store(store))))
    catalog = intake.open_catalog(str(tmp_path / "store.yaml"))
    for name in ("sub-01_ses-01", "sub-01"):
        ds = catalog[name].to_dask()
        assert ds.betas.sizes["trial"] > 0
        again = catalog[name]().to_dask()
        xr.testing.assert_equal(again.betas, ds.betas)
    assert not (tmp_path / "witness").exists()


def test_a_store_with_a_star_in_its_path(tiny_store: Path, tmp_path: Path) -> None:
    """It is a path: not a pattern, which a store beside it matches as well."""
    other = shutil.copytree(tiny_store / "sub-03", tmp_path / "axb.zarr" / "sub-01")
    store = shutil.copytree(tiny_store, tmp_path / "a*b.zarr")
    write_file(tmp_path / "store.yaml", store_catalog(store_info(open_store(store))))
    catalog = intake.open_catalog(str(tmp_path / "store.yaml"))
    for session in ("ses-01", "ses-02"):
        assert (other / session).is_dir()
        with xr.open_zarr(store / "sub-01" / session) as expected:
            xr.testing.assert_identical(catalog[f"sub-01_{session}"].read(), expected.load())
    assert catalog["sub-01"].read().sizes["trial"] == open_betas("sub-01", store=store).sizes["trial"]


def test_a_store_whose_path_is_a_chain_to_intake(tiny_store: Path, tmp_path: Path) -> None:
    """It is opened here, and not by intake-xarray: that is said before a catalog is written."""
    store = shutil.copytree(tiny_store, tmp_path / "a::b.zarr")
    assert open_betas("sub-01", store=store).sizes["trial"] > 0
    reason = "cannot be in a catalog, because Intake takes '::' for a chain of file systems. Move or link"
    with pytest.raises(ValueError, match=re.escape(f"a::b.zarr' {reason}")):
        store_catalog(store_info(open_store(store)))
    done = CliRunner().invoke(main, ["store", "catalog", str(store), "--out", str(tmp_path / "store.yaml")])
    assert done.exit_code == 2
    assert reason in " ".join(done.output.split())
    assert not (tmp_path / "store.yaml").exists()


@pytest.mark.parametrize("mark", ["#", "?"])
def test_a_store_whose_path_newer_versions_misread(tiny_store: Path, tmp_path: Path, mark: str) -> None:
    """Its catalog is written, and a warning says who cannot use it."""
    store = shutil.copytree(tiny_store, tmp_path / f"a{mark}b.zarr")
    with pytest.warns(UserWarning, match=re.escape(f"zarr 3.4 and newer take {mark!r} for the end of a path")):
        text = store_catalog(store_info(open_store(store)))
    sources = yaml.safe_load(text)["sources"]
    assert sources["sub-01_ses-01"]["args"]["urlpath"] == f"{store}/sub-01/ses-01"
    if Version(zarr.__version__) < Version("3.4"):
        write_file(tmp_path / "store.yaml", text)
        found = intake.open_catalog(str(tmp_path / "store.yaml"))["sub-01_ses-01"].read()
        with xr.open_zarr(Path(store) / "sub-01" / "ses-01") as expected:
            xr.testing.assert_identical(found, expected.load())


def test_a_store_with_a_password(tiny_store: Path) -> None:
    """Its catalog shows that there was one, and where the rest is."""
    info = store_info(open_store(tiny_store))
    object.__setattr__(info, "url", open_store(f"http://me:{PW}@h/x.zarr").url)
    text = store_catalog(info, {"key": PW, "profile": "lab", "client_kwargs": {"endpoint_url": f"http://u:{PW}@h"}})
    assert PW not in text
    first = next(iter(yaml.safe_load(text)["sources"].values()))["args"]
    assert first["storage_options"] == {"profile": "lab", "client_kwargs": {"endpoint_url": "http://***@h"}}


def test_a_saved_catalog_without_its_secrets(s3: object, tiny: Path, tmp_path: Path) -> None:
    """Says so when it is read, and takes them again."""
    url, options = s3.url, {**s3.store_options, "key": "me", "secret": PW}  # type: ignore[attr-defined]
    open_catalog(bucket=url, storage_options=options).save(str(tmp_path / "saved.yaml"))
    assert PW not in (tmp_path / "saved.yaml").read_text()
    source = intake.open_catalog(str(tmp_path / "saved.yaml")).betas
    with pytest.raises(ValueError, match=r"storage_options hold '\*\*\*' in place of a secret.*Pass the original"):
        source.to_dask()
    found = source(storage_options=options, roi="FFA1").to_dask()
    assert found.sizes == open_betas("sub-01", roi="FFA1", bucket=tiny).sizes
    with pytest.raises(ValueError, match=r"in place of a secret"):
        open_bucket("http://***@127.0.0.1:9").find("x")


@pytest.mark.parametrize(
    "options",
    [
        ["--storage-option", PW],
        ["--storage-option", f"={PW}"],
        ["--storage-option", f"secret={PW}", "--endpoint-url", f"http://me:{PW}@127.0.0.1:9"],
        ["--storage-option", f"secret={PW}", "--storage-option", f'client_kwargs={{"aws_session_token": "{PW}"}}'],
        ["--storage-option", f"unknown={PW}"],
        ["--storage-option", f'client_kwargs="{PW}"'],
        ["--bucket", f"http://me:{PW}@127.0.0.1:9"],
        ["--bucket", f"foo://me:{PW}@h"],
    ],
)
def test_the_command_line_echoes_no_secret(options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with what was given."""
    monkeypatch.setenv("LAION_FMRI_NETWORK", "attempts=1,total_seconds=2")
    for command in (["info"], ["catalog", "write", "--out", str(tmp_path)], ["ls"]):
        where = [] if "--bucket" in options else ["--bucket", "s3://x"]
        done = CliRunner().invoke(main, [*command, *where, *options])
        assert done.exit_code not in (0, None)
        assert done.output
        assert PW not in done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
