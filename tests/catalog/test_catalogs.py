"""The catalog's YAML files: what they say, that they open what they say, and how they are made."""

from __future__ import annotations

import functools
import http.server
import inspect
import json
import os
import pickle
import shutil
import socket
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import intake
import pytest
import xarray as xr
import yaml
from catalog_files import names, rois, sessions
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import examples, full

from intake_laion_fmri import drivers, layout, open_betas, open_catalog, open_rois, open_trials
from intake_laion_fmri.catalog.files import ROOT_FILE, V2_FILE, catalog_files, write_files
from intake_laion_fmri.catalog.inventory import (
    INVENTORY_FILE,
    Inventory,
    RoiRecord,
    SubjectRecord,
    catalog_folder,
    read_inventory,
    take_inventory,
)
from intake_laion_fmri.drivers import LaionCatalog, catalog_path
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.access import open_bucket
from intake_laion_fmri.sources import SOURCES

OPENERS = {name: source.load() for name, source in SOURCES.items()}

SUBJECTS = ["sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
SESSIONS = [f"ses-{number:02}" for number in range(1, 31)]
FACE = ["FFA1", "FFA2", "OFA", "pSTSfaces"]
CATEGORIES = {
    "body": 2,
    "character": 4,
    "face": 4,
    "laion": 5,
    "motion": 2,
    "object": 2,
    "place": 3,
    "retinotopy": 18,
}


@pytest.fixture
def cat(tiny: Path) -> Any:
    return open_catalog(bucket=tiny)


@pytest.fixture(scope="module")
def listed(tiny: Path) -> Inventory:
    return take_inventory(open_bucket(tiny))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was made: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def entries(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["sources"]
    return found


class TestShipped:
    """The files that come with the package."""

    def test_they_are_what_the_generator_makes_of_the_inventory_beside_them(self) -> None:
        """Byte for byte, and there is no other file."""
        folder = catalog_folder()
        expected = {name: text.encode() for name, text in catalog_files(read_inventory(folder)).items()}
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected

    def test_the_inventory_is_what_is_documented(self) -> None:
        """Sessions, the counts of ROIs, and the names of one subject; no name is made up for the others."""
        inventory = read_inventory(catalog_folder())
        assert inventory.source.startswith("the data set's documentation")
        assert "not a listing" in inventory.source
        assert list(inventory.subjects) == SUBJECTS
        for subject in inventory.subjects.values():
            assert [session.session for session in subject.public] == SESSIONS
            assert len(subject.sessions) == 30
        counts = {name: list(subject.roi_counts.values()) for name, subject in inventory.subjects.items()}
        assert counts == dict(zip(SUBJECTS, [[40, 4], [43, 6], [41, 6], [41, 5], [41, 6]], strict=True))
        named = inventory.subjects["sub-01"].rois
        assert named is not None
        assert Counter(roi.category for roi in named) == CATEGORIES
        assert [roi.roi for roi in named if roi.category == "face"] == FACE
        assert [inventory.subjects[name].rois for name in SUBJECTS[1:]] == [None] * 4

    def test_each_subject_has_its_entries(self) -> None:
        root = entries(catalog_path().read_text())
        assert list(root) == [*OPENERS, *SUBJECTS]
        rois = [roi.roi for roi in read_inventory(catalog_folder()).subjects["sub-01"].rois or ()]
        for subject in SUBJECTS:
            text = (catalog_folder() / f"{subject}.yaml").read_text()
            general = [name for name, source in SOURCES.items() if source.of_subject]
            assert list(entries(text)) == [*general, *SESSIONS, *(rois if subject == "sub-01" else [])]
            assert all(entry["args"]["subject"] == subject for entry in entries(text).values())
            about = yaml.safe_load(text)["metadata"]
            assert about["public_sessions"] == root[subject]["metadata"]["public_sessions"] == 30
            assert ("roi_names" in about) == (subject != "sub-01")

    def test_every_entry_names_its_arguments(self) -> None:
        """What a user reads in the metadata is what the function takes; each file writes a list once."""
        for name in [ROOT_FILE, *(f"{subject}.yaml" for subject in SUBJECTS)]:
            text = (catalog_folder() / name).read_text()
            assert text.count("min_noise_ceiling:") == 1
            for key, entry in entries(text).items():
                driver = getattr(drivers, entry["driver"].removeprefix("intake_laion_fmri.drivers."))
                if driver is LaionCatalog:
                    expected = {"bucket", "storage_options", "mirror", "mirror_only"}
                else:
                    expected = set(inspect.signature(driver.opener).parameters)
                    assert set(entry.get("args", {})) <= expected
                    assert driver.opener is OPENERS.get(key, driver.opener)
                assert set(entry["metadata"]["arguments"]) == expected
        v2 = yaml.safe_load((catalog_folder() / V2_FILE).read_text())
        for key, entry in v2["entries"].items():
            assert set(entry["metadata"]["arguments"]) == set(inspect.signature(OPENERS[key]).parameters)


class TestOpening:
    """From the root to a subject, a session, an ROI."""

    def test_a_session(self, cat: Any, tiny: Path) -> None:
        """The bucket of the root reaches the nested entries, however they are spelled."""
        expected = open_betas("sub-01", session="ses-01", bucket=tiny)
        for source in (
            cat["sub-01"]["ses-01"],
            cat["sub-01", "ses-01"],
            cat["sub-01.ses-01"],
            cat["sub-01"].get()["ses-01"],
        ):
            xr.testing.assert_identical(source.to_dask(), expected)

    def test_an_entry_called_with_other_arguments(self, cat: Any, tiny: Path) -> None:
        found = cat["sub-01"]["ses-01"](roi="face", stimuli="shared").to_dask()
        expected = open_betas("sub-01", session="ses-01", roi="face", stimuli="shared", bucket=tiny)
        xr.testing.assert_identical(found, expected)
        with pytest.raises(TypeError, match=r"'rio'\. Did you mean 'roi'"):
            cat["sub-01"]["ses-01"](rio="face")

    def test_what_is_of_the_whole_subject(self, cat: Any, tiny: Path) -> None:
        found = cat["sub-03"].betas(roi="face", session=[1, 2]).to_dask()
        xr.testing.assert_identical(found, open_betas("sub-03", roi="face", session=[1, 2], bucket=tiny))
        assert cat["sub-03"].trials.read().equals(open_trials("sub-03", bucket=tiny))

    def test_a_region(self, cat: Any, tiny: Path) -> None:
        found = cat["sub-01"].FFA1.read()
        xr.testing.assert_identical(found, open_rois("sub-01", roi="FFA1", bucket=tiny).compute())
        assert bool(found.in_roi.sel(roi="FFA1").all())
        assert cat["sub-01"].FFA1.metadata["category"] == "face"

    @pytest.mark.parametrize("how", ["argument", "arguments", "environment", "catalog"])
    def test_a_bucket_of_ones_own(self, how: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where Intake alone has opened the root."""
        root = intake.open_catalog(str(catalog_path()))
        if how == "argument":
            nested = root["sub-01"](bucket=tiny)
        elif how == "arguments":
            nested = root["sub-01"](arguments={"bucket": str(tiny)})
        elif how == "catalog":
            nested = LaionCatalog(str(catalog_path()), bucket=tiny)["sub-01"]
        else:
            nested = root["sub-01"]
            monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny))
        assert nested["ses-02"].to_dask().attrs == open_betas("sub-01", session=2, bucket=tiny).attrs

    def test_a_bucket_given_to_a_subject_replaces_that_of_the_root(self, tiny: Path) -> None:
        """With its options: those of the other bucket do not stay."""
        root = open_catalog(bucket="s3://other", storage_options={"anon": False})
        source = root["sub-01"](bucket=tiny)["ses-01"]
        assert source.describe()["args"] == {"subject": "sub-01", "session": "ses-01", "bucket": str(tiny)}
        options = {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
        source = root["sub-01"](bucket="s3://third", storage_options=options)["ses-01"]
        assert source.describe()["args"]["storage_options"] == options
        assert root["sub-03"]["ses-01"].describe()["args"]["storage_options"] == {"anon": False}

    def test_arguments_stay_when_the_catalog_is_reloaded_or_pickled(self, cat: Any) -> None:
        expected = cat["sub-01"].OFA.read()
        cat.force_reload()
        xr.testing.assert_identical(cat["sub-01"].OFA.read(), expected)
        nested = pickle.loads(pickle.dumps(cat["sub-01"]))
        nested.force_reload()
        xr.testing.assert_identical(nested.OFA.read(), expected)
        xr.testing.assert_identical(pickle.loads(pickle.dumps(nested["OFA"])).read(), expected)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"bucket": 3}, TypeError, "bucket must be a URL"),
            ({"bucket": "foo://x"}, ValueError, "not know the protocol 'foo'"),
            ({"bucket": "x", "storage_options": "anon"}, TypeError, "storage_options must be a mapping"),
        ],
    )
    def test_a_wrong_place(self, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            intake.open_catalog(str(catalog_path()))["sub-01"](**arguments)

    def test_by_a_relative_path_and_a_file_url(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(catalog_folder().parent)
        relative = intake.open_catalog(f"{catalog_folder().name}/{ROOT_FILE}")
        for root in (relative, intake.open_catalog(catalog_path().as_uri())):
            nested = root["sub-03"](bucket=tiny)
            assert "//" not in nested.path.removeprefix("file://")
            assert nested["ses-01"].to_dask().sizes["trial"]

    def test_the_root_is_opened_from_one_small_file(self, tmp_path: Path, no_network: None) -> None:
        """No network, and none of the subjects' files: they are not even there."""
        path = Path(shutil.copy(catalog_path(), tmp_path))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            root = intake.open_catalog(str(path))
            assert list(root)[-5:] == SUBJECTS
            assert open_catalog(bucket="s3://laion-fmri")["sub-01"]["ses-30"].name == "ses-30"


class TestBrowsing:
    """What a user sees in a notebook."""

    def test_names(self, cat: Any) -> None:
        assert list(cat) == [*OPENERS, *SUBJECTS]
        assert cat._ipython_key_completions_() == list(cat)
        assert {"betas", "inventory"} <= set(dir(cat))
        assert "sub-01" not in dir(cat)  # not an identifier
        nested = cat["sub-01"]
        assert {"ses-01", "hV4", "FFA1", "trials"} <= set(nested._ipython_key_completions_())
        assert {"hV4", "FFA1", "trials"} <= set(dir(nested))
        assert (repr(nested).split(":")[0], nested.name) == ("Catalog sub-01", "sub-01")
        assert "40 ROIs" in nested.describe()["description"]

    def test_walk(self, cat: Any, capsys: pytest.CaptureFixture[str]) -> None:
        assert set(cat.walk(depth=1)) == set(cat)
        everything = cat.walk(depth=5)
        of_subject = sum(source.of_subject for source in SOURCES.values())
        assert len(everything) == len(OPENERS) + 5 * (1 + of_subject + 30) + 40
        assert {"betas", "sub-01", "sub-01.FFA1", "sub-07.ses-30"} <= set(everything)
        assert capsys.readouterr().out == "", "Intake prints what it could not descend into"

    def test_search(self, cat: Any) -> None:
        """A category finds its regions, and the subjects of which only the number of them is known."""
        found = cat.search("face")
        others = [name for name in found if name.rpartition(".")[2] not in OPENERS]
        assert others == [f"sub-01.{roi}" for roi in FACE] + SUBJECTS[1:]
        xr.testing.assert_identical(found["sub-01.FFA1"].read(), cat["sub-01"].FFA1.read())
        assert set(cat.search("ses-07")) == {f"{subject}.ses-07" for subject in SUBJECTS}
        assert list(cat["sub-01"].search("hV4")) == ["hV4"]
        assert list(cat.search("xyzzy")) == []

    def test_what_is_not_there(self, cat: Any) -> None:
        for name in ("sub-02", "nonsense"):
            with pytest.raises(KeyError):
                cat[name]
        with pytest.raises(KeyError):
            cat["sub-01"]["ses-31"]
        with pytest.raises(AttributeError):
            _ = cat["sub-03"].FFA1

    def test_inventory(self, cat: Any) -> None:
        table = cat.inventory().read()
        assert set(table["subject"]) == {"", "sub-01", "sub-03"}
        assert set(table.loc[table["held_out"], "session"]) == {"ses-31"}
        assert cat.inventory.discover()["shape"] == table.shape
        assert cat.inventory(refresh=True).read().equals(table)
        with pytest.raises(TypeError, match="refresh must be True or False"):
            cat.inventory(refresh="yes")


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """The catalog's folder on a server, with the paths that are asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            if self.command == "GET":
                asked.append(self.path)

    handler = functools.partial(Handler, directory=str(catalog_folder().parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{catalog_folder().name}", asked
        server.shutdown()


def test_over_http(web: tuple[str, list[str]], tiny: Path) -> None:
    """Nested files come from beside the root, when they are asked for."""
    url, asked = web
    root = intake.open_catalog(f"{url}/{ROOT_FILE}")
    assert list(root)[-5:] == SUBJECTS
    assert set(asked) == {f"/catalogs/{ROOT_FILE}"}
    nested = root["sub-03"](bucket=tiny)
    assert set(asked) == {f"/catalogs/{ROOT_FILE}", "/catalogs/sub-03.yaml"}
    xr.testing.assert_identical(nested["ses-01"].to_dask(), open_betas("sub-03", session=1, bucket=tiny))


def test_from_s3(s3: Any, tiny: Path) -> None:
    """The catalog's own file system has options of its own, which nested files need too; the data have others."""
    s3.client.create_bucket(Bucket="shelf", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for path in catalog_folder().glob("*.yaml"):
        s3.client.put_object(Bucket="shelf", Key=f"of/catalogs/{path.name}", Body=path.read_bytes())
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": s3.endpoint}}
    root = intake.open_catalog(f"s3://shelf/of/catalogs/{ROOT_FILE}", storage_options=options)
    data = {"bucket": s3.url, "storage_options": s3.storage_options}
    source = root["sub-01"](arguments=data)["ses-01"]
    assert source.to_dask().sizes == open_betas("sub-01", session=1, bucket=tiny).sizes
    nested = open_catalog(**data)["sub-01"]
    assert nested["ses-01"].describe()["args"]["storage_options"] == s3.storage_options
    assert nested["ses-01"](roi="FFA1").read().sizes["voxel"]


class TestListing:
    """An inventory taken from a bucket."""

    def test_what_is_found(self, listed: Inventory) -> None:
        assert list(listed.subjects) == ["sub-01", "sub-03"]
        subject = listed.subjects["sub-01"]
        assert [record.session for record in subject.public] == ["ses-01", "ses-02", "ses-03"]
        assert [record.session for record in subject.sessions if record.held_out] == ["ses-31"]
        assert all(record.bytes for record in subject.public)
        assert subject.rois is not None
        assert Counter(roi.category for roi in subject.rois) == CATEGORIES
        assert {roi.formats for roi in subject.rois} == {("volume", "func.gii", "label")}
        assert len(listed.subjects["sub-03"].rois or ()) == 43

    def test_its_catalog_opens_everything(self, listed: Inventory, tiny: Path, tmp_path: Path) -> None:
        """Every session and region, and nothing that is held out; sizes are those of the files."""
        write_files(catalog_files(listed), tmp_path)
        root = LaionCatalog(str(tmp_path / ROOT_FILE), bucket=tiny)
        nested = root["sub-03"]
        names = [roi.roi for roi in listed.subjects["sub-03"].rois or ()]
        assert list(nested)[-46:] == ["ses-01", "ses-02", "ses-03", *names]
        assert nested.metadata["held_out_sessions"] == ["ses-31"]
        for name in ("ses-01", "ses-02", "ses-03"):
            assert nested[name].to_dask().attrs == open_betas("sub-03", session=name, bucket=tiny).attrs
            (path,) = tiny.rglob(f"sub-03_{name}_*SingletrialBetas_statmap.nii.gz")
            assert nested[name].metadata["bytes"] == path.stat().st_size
        regions = nested.rois.read()
        for name in names:
            assert nested[name].read().sizes["voxel"] == int(regions.in_roi.sel(roi=name).sum())

    def test_it_is_the_same_wherever_the_objects_are(self, s3: Any, listed: Inventory) -> None:
        found = take_inventory(open_bucket(s3.url, s3.storage_options))
        assert found.subjects == listed.subjects
        assert found.source == "a listing of s3://laion-fmri"
        assert Inventory("here", found.subjects).to_json() == Inventory("here", listed.subjects).to_json()

    def test_a_region_without_a_volume(self, own_tiny: Path, tmp_path: Path) -> None:
        """Its entry names a format that it has."""
        for path in own_tiny.rglob("sub-01_space-T1w*label-hV4_mask.nii.gz"):
            path.unlink()
        inventory = take_inventory(open_bucket(own_tiny))
        entry = entries(catalog_files(inventory)["sub-01.yaml"])["hV4"]
        assert entry["metadata"]["formats"] == ["func.gii", "label"]
        assert entry["args"] == {"subject": "sub-01", "roi": "hV4", "format": "func.gii"}
        write_files(catalog_files(inventory), tmp_path)
        found = LaionCatalog(str(tmp_path / ROOT_FILE), bucket=own_tiny)["sub-01"].hV4.read()
        assert bool(found.in_roi_L.sel(roi="hV4").any())

    def test_two_spellings_of_one_name(self, own_tiny: Path, listed: Inventory) -> None:
        """Counted once."""
        (path,) = own_tiny.rglob("sub-01_space-T1w_res-1pt8_label-FFA-1_mask.nii.gz")
        shutil.copy(path, path.with_name(path.name.replace("FFA-1", "FFA1")))
        assert take_inventory(open_bucket(own_tiny)).subjects == listed.subjects

    def test_an_empty_folder_is_no_subject(self, own_tiny: Path, listed: Inventory) -> None:
        (own_tiny / "derivatives/glmsingle-tedana/sub-09").mkdir()
        (own_tiny / "derivatives/rois/sub-09").mkdir()
        assert take_inventory(open_bucket(own_tiny)).subjects == listed.subjects

    def test_no_bucket(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "none"):
            with pytest.raises(NotInBucketError):
                take_inventory(open_bucket(folder))


subjects = names.map(lambda name: layout.subject_name(name.replace("+", "x")))

records = st.builds(SubjectRecord, sessions, st.none() | rois, st.dictionaries(names, st.integers(0, 50), max_size=2))
sources = st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "), max_size=30)
inventories = st.builds(Inventory, sources, st.dictionaries(subjects, records, min_size=1, max_size=3))


@full("inventories by the hundred, six seconds; those of demo buckets are written and read in the fast tier")
@settings(max_examples=examples(30))  # YAML is slow to write and to read
@given(inventory=inventories)
def test_an_inventory_survives_its_file(inventory: Inventory) -> None:
    """And the catalogs made of it hold its names as texts, whatever YAML thinks of them."""
    read = Inventory.from_json(inventory.to_json(), name="here")
    assert read == inventory
    assert read.to_json() == inventory.to_json()
    files = catalog_files(inventory)
    assert files == catalog_files(read)
    assert list(entries(files[ROOT_FILE])) == [*OPENERS, *inventory.subjects]
    for name, subject in inventory.subjects.items():
        chosen = [entry["args"].get("roi") for entry in entries(files[f"{name}.yaml"]).values()]
        assert [roi for roi in chosen if roi] == [roi.roi for roi in subject.rois or ()]


def test_a_region_that_is_called_as_an_entry_is(tmp_path: Path) -> None:
    """The entry stays what it is everywhere."""
    rois = (RoiRecord("betas", "face"), RoiRecord("name", "face"))
    files = catalog_files(Inventory("here", {"sub-01": SubjectRecord((), rois)}))
    found = entries(files["sub-01.yaml"])
    assert found["betas"]["args"] == {"subject": "sub-01"}
    assert found["roi_betas"]["args"] == {"subject": "sub-01", "roi": "betas"}
    write_files(files, tmp_path)
    nested = open_in(tmp_path)["sub-01"]
    assert nested.name == "sub-01"
    assert nested["name"].describe()["args"]["roi"] == "name"


def open_in(folder: Path) -> Any:
    return intake.open_catalog(str(folder / ROOT_FILE))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"source": "x", "subjects": []}',
        '{"source": "x", "subjects": {"sub 1": {"sessions": [], "rois": null}}}',
        '{"source": "x", "subjects": {"sub-01": {"sessions": [{"sesion": "ses-01"}], "rois": null}}}',
        '{"source": "x", "subjects": {"sub-01": {"sessions": [], "rois": [{"roi": "FFA1"}]}}}',
    ],
)
def test_an_inventory_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / INVENTORY_FILE).write_text(text)
    with pytest.raises(DataIntegrityError, match=rf"{INVENTORY_FILE} is not an inventory"):
        read_inventory(tmp_path)


def test_no_inventory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="catalog write --out"):
        read_inventory(tmp_path)


class TestWriting:
    """Whole files or none."""

    def test_the_second_time_nothing_is_written(self, listed: Inventory, tmp_path: Path) -> None:
        files = catalog_files(listed)
        folder = tmp_path / "new" / "catalogs"
        assert [path.name for path in write_files(files, folder)] == list(files)
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
        assert write_files(catalog_files(listed), folder) == []
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
        assert sorted(path.name for path in folder.iterdir()) == sorted(files)

    @pytest.mark.parametrize("step", ["_fill", "replace"])
    def test_an_interruption_leaves_whole_files(
        self, step: str, listed: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Old or new, and none that refers to one that is not there; the next run finishes."""
        write_files(catalog_files(Inventory("before", listed.subjects)), tmp_path)
        old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        new = {name: text.encode() for name, text in catalog_files(listed).items()}
        module = os if step == "replace" else atomic
        original, calls = getattr(module, step), iter(range(9))

        def interrupted(*arguments: Any, **options: Any) -> Any:
            if next(calls) == 1:
                if step == "_fill":
                    arguments[0].write(arguments[1][:10])
                raise KeyboardInterrupt
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(module, step, interrupted)
            with pytest.raises(KeyboardInterrupt):
                write_files(catalog_files(listed), tmp_path)
        found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert found == {**old, "sub-01.yaml": new["sub-01.yaml"]}
        assert list(open_in(tmp_path)["sub-03"])
        write_files(catalog_files(listed), tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == new

    def test_a_subject_that_has_gone(self, listed: Inventory, tmp_path: Path) -> None:
        """Its file goes; what somebody else wrote stays."""
        write_files(catalog_files(listed), tmp_path)
        (tmp_path / "sub-mine.yaml").write_text("sources: {}")
        rest = Inventory("here", {"sub-01": listed.subjects["sub-01"]})
        touched = write_files(catalog_files(rest), tmp_path)
        assert tmp_path / "sub-03.yaml" in touched
        assert sorted(path.name for path in tmp_path.glob("sub-*")) == ["sub-01.yaml", "sub-mine.yaml"]

    def test_files_are_readable_by_others(self, listed: Inventory, tmp_path: Path) -> None:
        """As any new file is, not as temporary files are."""
        (tmp_path / "usual").write_text("")
        write_files(catalog_files(listed), tmp_path)
        assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "usual").stat().st_mode}


def test_the_inventory_file_is_plain_json() -> None:
    """A line per session and region, for whoever reads a diff."""
    text = (catalog_folder() / INVENTORY_FILE).read_text()
    assert json.loads(text)["subjects"]["sub-01"]["sessions"][0] == {"session": "ses-01"}
    assert sum('{"session": ' in line for line in text.splitlines()) == 150
    assert max(map(len, text.splitlines())) <= 140
