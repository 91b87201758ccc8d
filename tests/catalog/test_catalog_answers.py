"""What sources and catalogs of both generations answer: copies of one's own, names that are not there, no secrets."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import intake
import pytest
import xarray as xr
import yaml

from intake_laion_fmri import open_betas, open_catalog
from intake_laion_fmri.drivers import BetasSource, UnknownEntryError, catalog_path
from intake_laion_fmri.readers import BetasReader

PW = "hunter2secret"
OPTIONS = {
    "key": "AKIAIOSFODNN7EXAMPLE",
    "secret": PW,
    "client_kwargs": {"endpoint_url": f"http://me:{PW}@127.0.0.1:9", "region_name": "eu-west-1"},
}
URL = f"s3://me:{PW}@bucket?sig={PW}"


# --- a source's Dataset is the user's --------------------------------------------------------------------------------


def test_a_dataset_that_is_changed_is_nobody_elses(tiny: Path) -> None:
    """Variables, values in place, attributes: the next caller gets what is in the bucket."""
    catalog = open_catalog(bucket=tiny)
    for source in (catalog.betas, catalog.betas(roi="face"), catalog.rois, catalog.maps, catalog.noise_ceilings):
        expected = source.to_dask().copy(deep=True)
        for read in (source.to_dask, source.read, lambda source=source: next(iter(source.read_chunked()))):
            ds = read()
            ds["x"] = 3
            ds.attrs.clear()
            for variable in ds.variables.values():
                variable.attrs["changed"] = True
                if isinstance(variable.data, type(ds.voxel.values)) and variable.data.flags.writeable:
                    variable.data[...] = variable.data.ravel()[0]
            ds.close()
        xr.testing.assert_identical(source.to_dask(), expected)


def test_a_table_that_is_changed_is_nobody_elses(tiny: Path) -> None:
    source = open_catalog(bucket=tiny).trials
    expected = source.read().copy(deep=True)
    table = source.read()
    table["x"] = 3
    table.loc[:, "label"] = "changed"
    del table["session"]
    assert source.read().equals(expected)
    assert next(iter(source.read_chunked())).equals(expected)


def test_lazy_arrays_are_not_copied_or_read(tiny: Path) -> None:
    source = open_catalog(bucket=tiny).betas
    one, other = source.to_dask(), source.to_dask()
    assert one.betas.data.name == other.betas.data.name
    assert one.betas.chunks


# --- names that are not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (["betaz"], r"Unknown entry of the catalog 'laion_fmri': 'betaz'\. Did you mean 'betas'"),
        (["sub-02"], r"Unknown entry of .*'sub-02'.*Valid: .*sub-01, sub-03"),
        (
            ["sub-01", "ses-31"],
            r"ses-31 of sub-01 has no entry: it is held out by the data set's authors\. Contact .*https://",
        ),
        (["sub-01", "ses-99"], r"Unknown entry of the catalog of sub-01: 'ses-99'\. Did you mean 'ses-"),
        (["sub-03", "FFA1"], r"ROIs of sub-03 have no entries in this catalog\. Use \.rois\(roi=.*catalog write"),
        (["sub-01.ses-99"], "catalog of sub-01: 'ses-99'"),
        (["sub-01.betaz"], "catalog of sub-01: 'betaz'. Did you mean 'betas'"),
        (["no.such"], r"'no\.such'"),
        ([("sub-01", "ses-99")], "catalog of sub-01: 'ses-99'"),
        ([("sub-02", "ses-01")], "'sub-02'"),
        ([3], "Unknown entry of the catalog 'laion_fmri': 3"),
    ],
)
def test_an_unknown_entry(path: list[Any], message: str) -> None:
    """As an item; as an attribute where it can be one."""
    catalog = open_catalog()
    *first, last = path
    for name in first:
        catalog = catalog[name]
    with pytest.raises(KeyError, match=message) as caught:
        catalog[last]
    assert isinstance(caught.value, UnknownEntryError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not str(caught.value).startswith(("'", '"'))
    if isinstance(last, str):
        assert not hasattr(catalog, last)
        assert getattr(catalog, last, "absent") == "absent"
        assert last not in list(catalog)
        with pytest.raises(AttributeError, match=message):
            getattr(catalog, last)


def test_what_python_and_ipython_ask_for_is_no_entry() -> None:
    catalog = open_catalog()
    for name in ("_repr_mimebundle_", "__array__", "_ipython_canary_method_should_not_exist_", "entry"):
        assert not hasattr(catalog, name)
    assert copy.copy(catalog).betas.name == "betas"


def test_a_dask_table_without_dask_dataframe(tiny: Path, python_environment: dict[str, str]) -> None:
    """What is missing, how to install it, and what works without."""
    code = (
        "import sys; sys.modules['pyarrow'] = None; sys.modules['dask.dataframe'] = None\n"
        f"from intake_laion_fmri import open_catalog\nsource = open_catalog(bucket={str(tiny)!r}).trials\n"
        "print(len(source.read()))\n"
        "try:\n    source.to_dask()\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=python_environment, capture_output=True, text=True, check=True, timeout=120
    )
    rows, message = done.stdout.splitlines()
    assert int(rows) > 0
    assert "pip install 'dask[dataframe]'" in message
    assert "read()" in message


def test_arguments_of_one_call_after_another(tiny: Path) -> None:
    """None takes one back; what is Intake's own is passed on."""
    catalog = open_catalog(bucket=tiny)
    source = catalog.betas(roi="face", session=1)(roi=None, plugin=None)(session=2)
    xr.testing.assert_identical(source.to_dask(), open_betas("sub-01", session=2, bucket=tiny))
    nested = catalog["sub-01"](bucket=None)(bucket=str(tiny))
    xr.testing.assert_identical(nested.betas.to_dask(), open_betas("sub-01", bucket=tiny))


def test_what_a_source_does_not_do(tiny: Path, tmp_path: Path) -> None:
    """Intake's first versions could: what to do now is said."""
    catalog = open_catalog(bucket=tiny)
    for source in (catalog.betas, catalog.trials):
        for ask in (lambda source=source: source.export(str(tmp_path)), source.persist):
            with pytest.raises(NotImplementedError, match=r"to_zarr.*build_store"):
                ask()


# --- secrets ---------------------------------------------------------------------------------------------------------


def displayed(source: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a notebook is sent."""
    sent: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: sent.append((args, kwargs)))
    source._ipython_display_()
    assert sent
    return str(sent)


def test_sources_and_catalogs_of_the_first_generation_show_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they came by it; what is no secret is shown."""
    given: dict[str, Any] = {"bucket": URL, "storage_options": OPTIONS}
    catalog = open_catalog(**given)
    plain = intake.open_catalog(str(catalog_path()))
    more = {"store": URL, "store_options": OPTIONS, "splits": URL, "metadata": {"x": URL, "password": PW}}
    sources = [catalog.betas, catalog.betas(roi="face"), catalog["sub-01"]["ses-01"], plain.betas(**given, **more)]
    sources += [plain.betas(**given)(roi="face"), BetasSource(subject="sub-01", **given, **more)]
    sources += [catalog, plain["sub-01"](**given), catalog["sub-01"]]
    for source in sources:
        described = [str(source.describe())] if source is not catalog else []
        texts = [repr(source), str(source), source.yaml(), displayed(source, monkeypatch), *described]
        assert PW not in "".join(texts)
        assert "s3://***@bucket?sig=***" in source.yaml()
        assert "eu-west-1" in source.yaml()
    entry = catalog.walk()["betas"]
    assert PW not in repr(entry) + str(entry.describe()) + displayed(entry, monkeypatch)
    found = catalog.search("betas")
    for saved in (catalog, catalog["sub-01"], found):
        saved.save(str(tmp_path / "saved.yaml"))
        text = (tmp_path / "saved.yaml").read_text()
        assert PW not in text
        assert "***" in text
        assert "python/object" not in text
        assert yaml.safe_load(text)["sources"]


def test_what_is_hidden_still_works_where_it_is_needed(s3: Any, tiny: Path) -> None:
    """A source pickled to a worker takes its options along."""
    options = {**s3.store_options, "key": "me", "secret": PW}
    source = open_catalog(bucket=s3.url, storage_options=options).betas
    for again in (pickle.loads(pickle.dumps(source)), copy.deepcopy(source), source(roi="face")()):
        assert again(roi="FFA1").to_dask().betas.shape == open_betas("sub-01", roi="FFA1", bucket=tiny).betas.shape
        assert PW not in repr(again)


def test_readers_of_the_second_generation_show_no_secret(tmp_path: Path) -> None:
    """Nor do the catalogs that hold them, or their files."""
    given: dict[str, Any] = {"bucket": f"s3://me:{PW}@bucket", "storage_options": OPTIONS}
    more: dict[str, Any] = {"store": f"s3://me:{PW}@store", "store_options": OPTIONS, "splits": f"http://me:{PW}@h/x"}
    reader = BetasReader(subject="sub-01", **given, **more)
    catalog = reader.to_cat("mine")
    catalog.to_yaml_file(str(tmp_path / "saved.yaml"))
    shipped = intake.from_yaml_file(str(catalog_path().with_name("laion_fmri.v2.yaml")))
    of_all = shipped(bucket_url=given["bucket"], bucket_options=OPTIONS)
    texts = [(tmp_path / "saved.yaml").read_text()]
    for one in (reader, of_all.betas, reader(roi="face"), catalog["mine"], pickle.loads(pickle.dumps(reader))):
        texts += [repr(one), repr(one.data), str(one.to_dict()), repr(one.kwargs), repr(one.to_entry()), one.token]
        assert one.data.arguments()["storage_options"] == OPTIONS
        assert one.data.arguments()["bucket"] == given["bucket"]
        assert "eu-west-1" in repr(one.data)
    texts += [repr(one) for one in (catalog, of_all, *catalog.entries.values(), *catalog.data.values())]
    assert PW not in "".join(texts)
    assert "s3://***@bucket" in texts[0]
    with pytest.raises(ValueError, match="in place of a secret"):
        intake.from_yaml_file(str(tmp_path / "saved.yaml"))["mine"](store=None).read()


def test_a_parameter_with_a_default_of_ones_own(tiny: Path, tmp_path: Path) -> None:
    shipped = intake.from_yaml_file(str(catalog_path().with_name("laion_fmri.v2.yaml")))
    shipped.user_parameters["bucket_url"].set_default(str(tiny))
    shipped.user_parameters["bucket_options"].set_default({"password": PW})
    shipped.to_yaml_file(str(tmp_path / "saved.yaml"))
    assert PW not in (tmp_path / "saved.yaml").read_text()
    assert len(shipped.trials.read()) == len(open_catalog(bucket=tiny).trials.read())
    again = intake.from_yaml_file(str(tmp_path / "saved.yaml"))
    assert len(again(bucket_options={}).trials.read()) == len(shipped.trials.read())
