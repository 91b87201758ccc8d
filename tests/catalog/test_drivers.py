"""The Intake sources: what a user of a catalog sees."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from tiers import full
from versions import DISTUTILS

import intake_laion_fmri
from intake_laion_fmri import open_betas, open_catalog, open_noise_ceilings, open_rois, open_trials
from intake_laion_fmri.betas import open_maps
from intake_laion_fmri.discovery import inventory
from intake_laion_fmri.drivers import BetasSource, TrialsSource, catalog_path
from intake_laion_fmri.errors import NotInBucketError
from intake_laion_fmri.sources import SOURCES

OPENERS = {name: source.load() for name, source in SOURCES.items()}

ENTRIES = list(SOURCES)
SUBJECTS = ["sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]


@pytest.fixture
def cat(tiny: Path) -> Any:
    return open_catalog(bucket=tiny)


def test_the_catalog_file(tiny: Path) -> None:
    """Opened by its path as any catalog is, and through `intake.cat` without one."""
    for catalog in (intake.open_catalog(str(catalog_path())), intake.cat.laion_fmri, intake_laion_fmri.cat):
        assert list(catalog) == ENTRIES + SUBJECTS
        found = catalog.betas(subject="sub-03", session=1, roi="face", bucket=str(tiny)).to_dask()
        xr.testing.assert_identical(found, open_betas("sub-03", session=1, roi="face", bucket=tiny))


def test_every_entry_is_the_function_of_its_name(cat: Any, tiny: Path) -> None:
    xr.testing.assert_identical(cat.betas.read(), open_betas("sub-01", bucket=tiny).compute())
    xr.testing.assert_identical(cat.rois(roi="face").read(), open_rois("sub-01", roi="face", bucket=tiny))
    found = cat.noise_ceilings(mask="anatomical").to_dask()
    xr.testing.assert_identical(found, open_noise_ceilings("sub-01", mask="anatomical", bucket=tiny))
    found = cat.maps(session=[1, 3], maps="r2", roi="face").read()
    xr.testing.assert_identical(
        found, open_maps("sub-01", session=[1, 3], maps="r2", roi="face", bucket=tiny).compute()
    )
    assert cat.inventory.read().equals(inventory(bucket=tiny))
    table = cat.trials(session=2, stimuli="shared").read()
    assert table.equals(open_trials("sub-01", session=2, stimuli="shared", bucket=tiny))


def test_lazy_and_loaded(cat: Any) -> None:
    source = cat.betas(roi="face")
    assert source.to_dask().chunks
    loaded = source.read()
    assert isinstance(loaded.betas.data, np.ndarray)
    xr.testing.assert_identical(source.to_dask().compute(), loaded)


def test_tables_through_dask(cat: Any) -> None:
    table = cat.trials(session=1).to_dask()
    assert table.npartitions == 1
    pd.testing.assert_frame_equal(table.compute(), cat.trials(session=1).read(), check_dtype=False)  # arrow's texts


def test_discover_tells_the_shape_without_reading(cat: Any) -> None:
    found = cat.betas(roi="face").discover()
    ds = cat.betas(roi="face").to_dask()
    assert found["shape"] == dict(ds.sizes)
    assert found["dtype"] == {"betas": "float32"}
    assert found["npartitions"] == 3
    assert set(found["metadata"]["coords"]) == set(ds.coords)
    assert cat.trials.discover()["shape"] == cat.trials.read().shape


def test_partitions_are_sessions(cat: Any) -> None:
    source = cat.betas(roi="face")
    parts = list(source.read_chunked())
    assert [set(part.session.values) for part in parts] == [{"ses-01"}, {"ses-02"}, {"ses-03"}]
    xr.testing.assert_identical(
        xr.concat(parts, "trial", data_vars="minimal", coords="minimal", compat="equals"), source.read()
    )
    xr.testing.assert_identical(source.read_partition(1), parts[1])
    with pytest.raises(IndexError):
        source.read_partition(3)
    (whole,) = cat.rois.read_chunked()
    xr.testing.assert_identical(whole, cat.rois.read())
    assert next(cat.trials.read_chunked()).equals(cat.trials.read())
    (volumes,) = cat.maps(session="all", grid="volume").read_chunked()
    assert volumes.sizes["session"] == 3


def test_describe(cat: Any) -> None:
    """From an entry, a source, and a source without a catalog."""
    for description in (cat.betas.describe(), cat["betas"].describe(), cat.betas(roi="face").describe()):
        assert description["name"] == "betas"
        assert description["container"] == "xarray"
        assert "trial x voxel" in description["description"]
        assert "Percent" in description["metadata"]["arguments"]["min_noise_ceiling"]
    alone = BetasSource(subject="sub-01").describe()
    assert alone["args"] == {"subject": "sub-01"}


def test_the_metadata_name_every_argument() -> None:
    """What a user reads in the catalog is what the driver takes."""
    import inspect

    assert list(OPENERS) == ENTRIES
    for name, function in OPENERS.items():
        entry = yaml.safe_load(catalog_path().read_text())["sources"][name]
        assert set(entry["metadata"]["arguments"]) == set(inspect.signature(function).parameters)


def test_the_repr_is_yaml_that_opens_the_same_again(cat: Any, tmp_path: Path) -> None:
    source = cat.betas(subject="sub-03", session=[1, 2], roi=["FFA1", "place"], min_noise_ceiling=5)
    shown = repr(source)
    for word in ("sub-03", "FFA1", "place", "min_noise_ceiling: 5", str(cat.betas.describe()["args"]["bucket"])):
        assert word in shown
    path = tmp_path / "again.yaml"
    path.write_text(shown)
    xr.testing.assert_identical(intake.open_catalog(str(path)).betas.to_dask(), source.to_dask())


def test_sources_and_catalogs_pickle(cat: Any) -> None:
    source = cat.betas(roi="face")
    again = pickle.loads(pickle.dumps(source))
    xr.testing.assert_identical(again.read(), source.read())
    xr.testing.assert_identical(pickle.loads(pickle.dumps(cat)).betas(roi="face").read(), source.read())
    source.close()
    xr.testing.assert_identical(source.read(), again.read())


def test_arguments_override_those_of_a_source(cat: Any) -> None:
    source = cat.betas(roi="face", session=1)
    again = source(roi="place").to_dask()
    assert again.attrs == cat.betas(roi="place", session=1).to_dask().attrs
    assert set(again.session.values) == {"ses-01"}


def test_the_environment_tells_the_bucket(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at when the source is opened, not when the catalog is."""
    catalog = open_catalog()
    monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny))
    assert catalog.trials(session=1).read().equals(open_trials("sub-01", session=1, bucket=tiny))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sesion": 1}, TypeError, "Unknown argument of driver 'laion_fmri_betas': 'sesion'. Did you mean 'session'"),
        ({"mask": "rsqare"}, ValueError, "Did you mean 'rsquare'"),
        ({"noise_ceiling": "12reps"}, ValueError, "Did you mean '12rep'"),
        ({"stimuli": "share"}, ValueError, "Did you mean 'shared'"),
        ({"min_noise_ceiling": 0.3}, ValueError, "Write 30 for 30 %"),
        ({"session": "first"}, ValueError, "Not a session: 'first'"),
        ({"subject": "sub 1"}, ValueError, "Not a subject: 'sub 1'"),
        ({"roi": "(FFA1"}, ValueError, "cannot be read"),
        ({"roi": 3}, TypeError, "roi must be a string"),
        ({"bucket": 3}, TypeError, "bucket must be a URL"),
        ({"bucket": "foo://x"}, ValueError, "not know the protocol 'foo'"),
        ({"storage_options": "anon"}, TypeError, "storage_options must be a mapping"),
    ],
)
def test_wrong_arguments_fail_when_the_source_is_made(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Before anything is contacted: there is no bucket here."""
    catalog = open_catalog(bucket="/there/is/no/bucket")
    with pytest.raises(error, match=message):
        catalog.betas(**arguments)


def test_a_source_without_a_subject() -> None:
    with pytest.raises(TypeError, match="needs the argument 'subject'"):
        TrialsSource()


def test_wrong_arguments_of_the_catalog() -> None:
    with pytest.raises(TypeError, match="bucket must be a URL"):
        open_catalog(bucket=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="storage_options must be a mapping"):
        open_catalog(storage_options=["anon"])  # type: ignore[arg-type]


def test_a_bucket_that_is_not_there() -> None:
    with pytest.raises(NotInBucketError, match="There is no bucket"):
        open_catalog(bucket="/there/is/no/bucket").betas.to_dask()


def test_no_warning_from_opening_to_reading(tiny: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = intake.open_catalog(str(catalog_path())).betas(roi="face", bucket=str(tiny))
        repr(source), source.describe(), source.discover(), source.read()
    assert not caught


@full("processes, three seconds; the commands are tested without them")
def test_the_command_of_the_readme(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """In any folder, in a process of its own, without a warning."""
    source = f"intake.cat.laion_fmri.betas(subject='sub-01', roi='face', bucket={str(tiny)!r})"
    code = f"import intake; print({source}.to_dask())"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-W", DISTUTILS, "-c", code],
        cwd=tmp_path,
        env=python_environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "<xarray.Dataset>" in done.stdout
    assert "betas         (trial, voxel) float32" in done.stdout
    assert done.stderr == ""
