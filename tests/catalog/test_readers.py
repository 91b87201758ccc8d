"""The second generation of Intake: data types, readers, pipelines, and the catalog file that holds them."""

from __future__ import annotations

import inspect
import operator
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import xarray as xr
from tiers import full

from intake_laion_fmri import open_betas, open_noise_ceilings, open_rois, open_trials, readers
from intake_laion_fmri.betas import open_maps
from intake_laion_fmri.catalog.files import V2_FILE
from intake_laion_fmri.catalog.inventory import catalog_folder
from intake_laion_fmri.errors import NotInBucketError
from intake_laion_fmri.readers import BetasData, BetasReader, TrialsData, TrialsReader
from intake_laion_fmri.sources import SOURCES

OPENERS = {name: source.load() for name, source in SOURCES.items()}

ENTRIES = list(SOURCES)
V2_PATH = catalog_folder() / V2_FILE


@pytest.fixture
def cat(tiny: Path) -> Any:
    return intake.from_yaml_file(str(V2_PATH))(bucket_url=str(tiny))


def again(path: Path, **readers: Any) -> Any:
    """Put readers into a catalog, that into a file, and open the file."""
    catalog = intake.Catalog()
    for name, reader in readers.items():
        catalog[name] = reader
    catalog.to_yaml_file(str(path))
    return intake.from_yaml_file(str(path))


def test_the_catalog_file(tiny: Path) -> None:
    """Opened as a file of the second generation, and by the function of the first."""
    for catalog in (intake.from_yaml_file(str(V2_PATH)), intake.open_catalog(str(V2_PATH))):
        assert list(catalog) == ENTRIES
        assert set(ENTRIES) <= set(dir(catalog))
        found = catalog(bucket_url=str(tiny)).betas.read()
        xr.testing.assert_identical(found, open_betas("sub-01", bucket=tiny))


def test_every_entry_is_the_function_of_its_name(cat: Any, tiny: Path) -> None:
    assert isinstance(cat.betas.read(), xr.Dataset)
    xr.testing.assert_identical(cat.rois(roi="face").read(), open_rois("sub-01", roi="face", bucket=tiny))
    expected = open_noise_ceilings("sub-01", mask="anatomical", bucket=tiny)
    xr.testing.assert_identical(cat.noise_ceilings(mask="anatomical").read(), expected)
    expected = open_maps("sub-01", session=2, maps=["r2"], bucket=tiny)
    xr.testing.assert_identical(cat.maps(session=2, maps=["r2"]).read(), expected)
    assert cat.trials(session=2).read().equals(open_trials("sub-01", session=2, bucket=tiny))


def test_names_belong_together() -> None:
    """A reader of each entry, with the function, the data type and the output that it says."""
    for name in ENTRIES:
        stem = "".join(part.capitalize() for part in name.split("_"))
        reader, data = getattr(readers, f"{stem}Reader"), getattr(readers, f"{stem}Data")
        assert reader.opener is OPENERS[name] is intake.import_name(reader.func)
        assert reader.implements == {data}
        assert data().possible_readers == {"importable": [reader], "not_importable": []}
        assert intake.from_yaml_file(str(V2_PATH))[name].output_instance == reader.output_instance
        assert inspect.getdoc(OPENERS[name]).splitlines()[0] in reader.doc()  # type: ignore[union-attr]


def test_another_subject_and_selection(cat: Any, tiny: Path) -> None:
    """Said to the reader, whatever of it the data hold; the original stays as it is."""
    reader = cat.betas(subject="sub-03", roi="face", session=range(1, 3))
    xr.testing.assert_identical(reader.read(), open_betas("sub-03", roi="face", session=[1, 2], bucket=tiny))
    assert reader.metadata == cat.betas.metadata
    assert reader.metadata["arguments"]["min_noise_ceiling"].startswith("Percent")
    assert reader(roi="place").read().attrs == open_betas("sub-03", roi="place", session=[1, 2], bucket=tiny).attrs
    assert set(reader.discover().subject.values.tolist().split()) == {"sub-03"}
    assert set(cat.betas.read(session=2).session.values) == {"ses-02"}
    assert cat.betas.read().sizes["trial"] == open_betas("sub-01", bucket=tiny).sizes["trial"]


def test_without_a_catalog(tiny: Path) -> None:
    expected = open_betas("sub-01", roi="FFA1", bucket=tiny)
    data = BetasData(tiny, "sub-01")
    for reader in (
        BetasReader(data, roi="FFA1"),
        BetasReader(subject="01", bucket=tiny, roi="FFA1"),
        BetasReader(tiny, subject="sub-01", roi="FFA1"),
        BetasReader(BetasData(tiny), subject="sub-01", roi="FFA1"),
        data.to_reader(roi="FFA1"),
        data.to_reader("xarray", roi="FFA1"),
        pickle.loads(pickle.dumps(BetasReader(data, roi="FFA1"))),
    ):
        xr.testing.assert_identical(reader.read(), expected)
    assert BetasReader(data, roi="FFA1") == data.to_reader(roi="FFA1") != data.to_reader(roi="FFA2")


def test_the_environment_tells_the_bucket(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at when the data are read, not when the catalog is opened."""
    reader = intake.from_yaml_file(str(V2_PATH)).trials
    monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny))
    assert reader.read().equals(open_trials("sub-01", bucket=tiny))


def test_from_s3(s3: Any, tiny: Path, tmp_path: Path) -> None:
    """The options of the whole catalog reach its readers, and a file made of them."""
    catalog = intake.from_yaml_file(str(V2_PATH))(bucket_url=s3.url, bucket_options=s3.storage_options)
    reader = catalog.betas(roi="FFA1", session=1)
    expected = open_betas("sub-01", roi="FFA1", session=1, bucket=tiny).betas
    np.testing.assert_array_equal(reader.read().betas, expected)
    np.testing.assert_array_equal(again(tmp_path / "cat.yaml", mine=reader)["mine"].read().betas, expected)


def test_pipelines_are_lazy_and_survive_a_file(cat: Any, tiny: Path, tmp_path: Path) -> None:
    """Attributes, methods, items and functions of the Dataset, as steps."""
    reader = cat.betas(subject="sub-03", roi="face")
    pipelines = {
        "mean": reader.betas.mean("trial"),
        "grouped": reader.betas.groupby("label").mean(),
        "item": reader["betas"].isel(trial=[0, 2, 4]),
        "applied": reader.betas.apply(operator.neg),
    }
    ds = open_betas("sub-03", roi="face", bucket=tiny)
    expected = {
        "mean": ds.betas.mean("trial"),
        "grouped": ds.betas.groupby("label").mean(),
        "item": ds.betas.isel(trial=[0, 2, 4]),
        "applied": -ds.betas,
    }
    opened = again(tmp_path / "cat.yaml", **pipelines)
    for name, pipeline in pipelines.items():
        found = pipeline.read()
        assert found.chunks, name
        xr.testing.assert_identical(found.compute(), expected[name].compute())
        found = opened[name].read()
        assert found.chunks, name
        xr.testing.assert_identical(found.compute(), expected[name].compute())


def test_tables_in_pipelines(cat: Any, tmp_path: Path) -> None:
    counts = cat.trials(session=[1, 2])["session"].value_counts()
    expected = cat.trials.read(session=[1, 2])["session"].value_counts()
    assert counts.read().equals(expected)
    assert again(tmp_path / "cat.yaml", counts=counts)["counts"].read().equals(expected)


def test_arguments_survive_a_file(tiny: Path, tmp_path: Path) -> None:
    """As plain YAML, whatever they were: paths, ranges, NumPy's numbers, mappings."""
    reader = BetasReader(
        BetasData(tiny, "sub-03", storage_options={"auto_mkdir": False}),
        session=(np.int64(1), 3),
        roi=("FFA1", "place"),
        min_noise_ceiling=np.float32(5),
        stimuli=None,
    )
    text = (tmp_path / "cat.yaml").read_text() if again(tmp_path / "cat.yaml", mine=reader) else ""
    assert "pickle" not in text
    assert "python/" not in text
    opened = intake.from_yaml_file(str(tmp_path / "cat.yaml"))["mine"]
    xr.testing.assert_identical(opened.read(), reader.read())
    assert opened.kwargs["session"] == [1, 3]


WRONG = [
    ({"sesion": 1}, TypeError, "Unknown argument of reader BetasReader: 'sesion'. Did you mean 'session'"),
    ({"mask": "rsqare"}, ValueError, "Did you mean 'rsquare'"),
    ({"min_noise_ceiling": 0.3}, ValueError, "Write 30 for 30 %"),
    ({"session": "first"}, ValueError, "Not a session: 'first'"),
    ({"subject": "sub 1"}, ValueError, "Not a subject: 'sub 1'"),
    ({"roi": "(FFA1"}, ValueError, "cannot be read"),
    ({"roi": 3}, TypeError, "roi must be a string"),
    ({"bucket": "foo://x"}, ValueError, "not know the protocol 'foo'"),
    ({"storage_options": "anon"}, TypeError, "storage_options must be a mapping"),
    ({"pool": ["shared", "subject"]}, ValueError, "That leaks test data"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments_fail_when_the_reader_is_made(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """As in the first generation, before anything is contacted; also when reading, and out of a file."""
    reader = BetasReader(BetasData("/there/is/no/bucket", "sub-01"))
    opened = again(tmp_path / "cat.yaml", mine=reader)["mine"]
    for make in (reader, reader.read, opened, opened.read):
        with pytest.raises(error, match=message):
            make(**arguments)


def test_a_file_that_somebody_has_changed(cat: Any, tmp_path: Path) -> None:
    """Values are checked when the entry is taken out."""
    path = tmp_path / "cat.yaml"
    again(path, mine=cat.betas(mask="anatomical", roi="face"))
    path.write_text(path.read_text().replace("mask: anatomical", "mask: anatomic"))
    with pytest.raises(ValueError, match="Did you mean 'anatomical'"):
        _ = intake.from_yaml_file(str(path))["mine"]


def test_parameters_of_the_catalog_are_no_arguments(tiny: Path) -> None:
    """Intake drops an argument that is called as a parameter of the catalog is: none is."""
    catalog = intake.from_yaml_file(str(V2_PATH))
    arguments = {name for opener in OPENERS.values() for name in inspect.signature(opener).parameters}
    assert not arguments & set(catalog.user_parameters)
    with pytest.raises(TypeError, match="bucket_urk"):
        _ = catalog(bucket_urk="x").betas
    assert catalog(bucket_url="/there/is/no/bucket").betas(bucket=tiny).read().sizes["trial"]


def test_what_does_not_fit() -> None:
    with pytest.raises(TypeError, match="BetasReader reads BetasData, found TrialsData"):
        BetasReader(TrialsData(subject="sub-01"))
    with pytest.raises(TypeError, match="TrialsReader needs the argument 'subject'"):
        TrialsReader(TrialsData("/there/is/no/bucket")).read()
    with pytest.raises(TypeError, match="bucket must be a URL"):
        BetasData(3)  # type: ignore[arg-type]
    with pytest.raises(NotInBucketError, match="There is no bucket"):
        BetasReader("/there/is/no/bucket", subject="sub-01").read()


def test_recommendations(tiny: Path) -> None:
    """By the name of the bucket, without contacting it."""
    assert intake.recommend("s3://laion-fmri", head=False)[0] is BetasData
    assert BetasData not in intake.recommend("s3://laion-fmri-notes/x.csv", head=False)
    assert intake.recommend(BetasData(tiny))["importable"] == [BetasReader]
    assert BetasData(tiny).possible_outputs == {BetasReader: "xarray:Dataset"}


def test_search(cat: Any) -> None:
    assert list(cat.search("TrialsReader")) == ["trials"]


def test_no_warning_from_opening_to_reading(tiny: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        catalog = intake.from_yaml_file(str(V2_PATH))(bucket_url=str(tiny))
        reader = catalog.betas(roi="face")
        repr(catalog), repr(reader), dir(reader), reader.discover()
        again(tmp_path / "cat.yaml", mine=reader.betas.mean("trial"))["mine"].read().compute()
    assert not caught


@full("processes, four seconds; test_hostile_catalogs opens files too")
def test_a_file_is_enough(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """In a new process that imports only Intake: the file names what is to be imported."""
    again(tmp_path / "cat.yaml", mine=BetasReader(BetasData(tiny, "sub-01"), roi="face").betas.mean())
    code = "import intake; print(float(intake.from_yaml_file('cat.yaml')['mine'].read()))"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        cwd=tmp_path,
        env=python_environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert float(done.stdout) == pytest.approx(float(open_betas("sub-01", roi="face", bucket=tiny).betas.mean()))
