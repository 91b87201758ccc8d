"""The interface of the data set's own package, row by row: signature, kind, shape, type and order of what is here.

Each row is called on the demo bucket as a folder, on an S3 server, in a mirror without a network, and with a store of
its betas.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import shutil
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import plain_arrays as oracle
import pytest
from conftest import S3
from demo_files import GLM, betas_file
from package_functions import FUNCTIONS
from package_page import DOCUMENT, page
from package_rows import COMMANDS, ERRORS, SUBJECT, TOP, Array, Call
from tiers import sampled

import intake_laion_fmri
from intake_laion_fmri import download, layout
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.errors import NotInBucketError
from intake_laion_fmri.mirror import mirror_bucket
from intake_laion_fmri.remote.access import ObjectInfo, open_source
from intake_laion_fmri.store import build_store
from intake_laion_fmri.subject import Subject, load_subject

LABEL = "shared_12rep_LAION_cluster_1003_i0.jpg"
FACE = ["FFA1", "FFA2", "OFA", "pSTSfaces"]
CASES = [(name, call) for name, row in SUBJECT.items() for call in row.calls]
OFFLINE = "mirror"
WITH_IMAGES = {"folder", "store"}
DESCRIBING = ["freesurfer", "events", "raw", "embeddings", "captions", "segmentations"]
PROPERTIES = {"subject_id", "metadata", "images", "embeddings", "captions", "segmentations"}
ORIGINS = ["folder", "s3", OFFLINE, "store"]


@pytest.fixture(scope="module")
def mirrored(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirrored")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mirror_bucket(folder, bucket=tiny, subjects="sub-01")
        mirror_bucket(folder, bucket=tiny, subjects="sub-01", kinds=DESCRIBING)
    return folder


@pytest.fixture(scope="module")
def stored(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store on the axis that the data set's own package has."""
    folder = tmp_path_factory.mktemp("stored") / "anatomical.zarr"
    build_store(folder, bucket=tiny, subjects="sub-01", sessions=1, mask="anatomical")
    return folder


@pytest.fixture
def sub(request: pytest.FixtureRequest, tiny: Path) -> Subject:
    origin = request.param
    if origin == "s3":
        s3: S3 = request.getfixturevalue("s3")
        return load_subject("sub-01", bucket=s3.url, storage_options=s3.storage_options)
    if origin == OFFLINE:
        return load_subject("sub-01", mirror=request.getfixturevalue("mirrored"), mirror_only=True)
    store = request.getfixturevalue("stored") if origin == "store" else None
    return load_subject("sub-01", bucket=tiny, store=store)


@pytest.fixture(scope="module")
def sizes(tiny: Path) -> dict[str, int]:
    image = nibabel.load(betas_file(tiny, "sub-01", "ses-01"))
    return {
        "trial": image.shape[3],
        "grid": int(np.prod(image.shape[:3])),
        "anatomical": len(oracle.mask(tiny)),
        "face": len(oracle.roi(tiny, FACE)),
        "xyz": 3,
    }


def check(found: Any, kind: Any, sizes: dict[str, int]) -> None:
    """Compare a result with its row; a size that is not in the table may be any."""
    if isinstance(kind, dict):
        assert type(found) is dict
        assert list(found) == list(kind)
        for name, of_one in kind.items():
            check(found[name], of_one, sizes)
    elif isinstance(kind, Array):
        assert type(found) is np.ndarray
        assert (found.dtype, found.ndim, found.flags.c_contiguous) == (np.dtype(kind.dtype), len(kind.dims), True)
        assert [sizes.get(dim, n) for dim, n in zip(kind.dims, found.shape, strict=True)] == list(found.shape)
        assert found.size
    elif kind is Path:
        assert isinstance(found, Path)
        assert found.exists()
    else:
        assert type(found) is (type(None) if kind is None else kind)


def result(call: Call, **names: Any) -> Any:
    """Make a call of the table."""
    if "SHARED" in call.text or "UNIQUE" in call.text:
        labels = names["sub"].metadata["image_name"]
        names |= {"SHARED": labels.eq(LABEL).argmax(), "UNIQUE": labels.str.startswith("unique").argmax()}
    return eval(call.text, {"np": np, "FACE": FACE, "LABEL": LABEL, **names})


@pytest.mark.filterwarnings("ignore:get_n_stimuli counts the stimuli of all subjects")
@pytest.mark.parametrize(("sub", "origin"), sampled([(one, one) for one in ORIGINS], keep=2), indirect=["sub"])
@pytest.mark.parametrize(("name", "call"), CASES, ids=[call.text for _, call in CASES])
def test_what_a_call_gives(
    sub: Subject,
    origin: str,
    sizes: dict[str, int],
    name: str,
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"sub.{name}" in call.text
    if call.gated and origin not in WITH_IMAGES:
        with pytest.raises(OSError, match=layout.REQUEST_URL):
            result(call, sub=sub)
        return
    if call.error is None:
        check(result(call, sub=sub), call.kind, sizes)
        return
    with pytest.raises(call.error):
        result(call, sub=sub)


def parameters(signature: str) -> list[tuple[str, Any]]:
    """Return names and defaults of a signature as it is written."""
    namespace: dict[str, Any] = {}
    exec(f"def f({signature}): pass", namespace)
    return [(name, one.default) for name, one in inspect.signature(namespace["f"]).parameters.items()]


@pytest.mark.parametrize("name", SUBJECT)
def test_signatures(name: str) -> None:
    """Parameters in the same order, with the same defaults; ours may add keywords after them."""
    signature = SUBJECT[name].signature
    if name in PROPERTIES:
        assert not callable(inspect.getattr_static(Subject, name, None))
        return
    member = inspect.getattr_static(Subject, name)
    found = list(inspect.signature(member).parameters.values())[1:]
    expected = parameters(signature)
    assert [(one.name, one.default) for one in found[: len(expected)]] == expected
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in found[len(expected) :])


MODULES = sorted({name.partition(".")[0] for name in FUNCTIONS})


def found_in(name: str) -> Any:
    module, *names = name.split(".")
    return functools.reduce(getattr, names, importlib.import_module(f"intake_laion_fmri.{module}"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_of_functions(name: str) -> None:
    """A parameter that is required there may have a default here."""
    found = [one for one in inspect.signature(found_in(name)).parameters.values() if one.name != "self"]
    expected = parameters(FUNCTIONS[name].signature)
    assert [one.name for one in found[: len(expected)]] == [parameter for parameter, _ in expected]
    for one, (_, default) in zip(found, expected, strict=False):
        assert default in (one.default, inspect.Parameter.empty)
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in found[len(expected) :])


@pytest.mark.filterwarnings("ignore:Rows of get_shared_betas are not aligned")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_gives(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int]
) -> None:
    """As it is called there: the bucket and the folder are those of the environment, and of an earlier call."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny))
    (tmp_path / "data").mkdir()
    if "dataset_initialize" not in name:
        intake_laion_fmri.dataset_initialize("data")
    names = {module: getattr(intake_laion_fmri, module) for module in MODULES}
    sub = load_subject("sub-01")
    for call in FUNCTIONS[name].calls:
        if call.error is None:
            check(result(call, **names, sub=sub), call.kind, sizes)
            continue
        with pytest.raises(call.error):
            result(call, **names, sub=sub)


def test_the_page_is_that_table() -> None:
    """Written anew by `python tests/subject/package_page.py`."""
    assert DOCUMENT.read_text(encoding="utf-8") == page()


def test_names_at_the_top() -> None:
    for name, module in TOP.items():
        assert getattr(intake_laion_fmri, name) is found_in(f"{module}.{name}")
    for name, (kind, _) in ERRORS.items():
        assert issubclass(getattr(intake_laion_fmri, name), kind)
    assert {*TOP, *ERRORS} <= set(intake_laion_fmri.__all__)


def test_the_names_of_errors_catch_what_is_raised(tiny: Path, own_tiny: Path, closed: str, tmp_path: Path) -> None:
    """Where the data set's own package raises them, and as its builtin classes."""
    sub = load_subject("sub-01", bucket=tiny)
    shutil.rmtree(own_tiny / "stimuli")
    with pytest.raises(intake_laion_fmri.StimuliNotDownloadedError):
        load_subject("sub-01", bucket=own_tiny).get_n_stimuli()
    for name in ("", "sub-"):
        with pytest.raises(intake_laion_fmri.SubjectNotFoundError, match="Not a subject"):
            load_subject(name, bucket=tiny)
    with pytest.raises(intake_laion_fmri.SubjectNotFoundError) as caught:
        load_subject("sub-02", bucket=tiny)
    assert isinstance(caught.value, intake_laion_fmri.DataNotDownloadedError)
    assert "download(subject='sub-02')" in str(caught.value)
    with pytest.raises(intake_laion_fmri.DataNotDownloadedError):
        load_subject("sub-01", bucket=tiny / "nowhere")
    with pytest.raises(intake_laion_fmri.DataDirNotSetError):
        intake_laion_fmri.get_data_dir()
    intake_laion_fmri.dataset_initialize(tmp_path)
    for choice in ({"subject": "sub-02"}, {"ses": 40}, {"desc": "Other"}, {"ses": "ses-01", "extension": ".gii"}):
        with pytest.raises(intake_laion_fmri.NoMatchingDataError) as none:
            download.download(bucket=tiny, **choice)  # type: ignore[arg-type]
        assert isinstance(none.value, ValueError)
    with pytest.raises(intake_laion_fmri.LicenseNotAcceptedError) as refused:
        download.download(bucket=tiny, include_stimuli=True, suffix="stimuli")
    assert isinstance(refused.value, RuntimeError)
    options = {"client_kwargs": {"endpoint_url": closed}}
    with pytest.raises(intake_laion_fmri.LicenseNotAcceptedError):
        open_source("s3://laion-fmri", options).fetch([ObjectInfo(layout.GATED, 10, "")])
    with pytest.raises(PermissionError) as held_out:
        sub.get_betas(31)
    assert not isinstance(held_out.value, intake_laion_fmri.LicenseNotAcceptedError)


def test_the_rois_of_no_subject_are_those_of_the_first(tiny: Path) -> None:
    discovery = found_in("discovery.get_rois")
    assert discovery(bucket=tiny) == discovery("sub-01", bucket=tiny)
    assert discovery(category="face", bucket=tiny) == FACE


def test_its_commands() -> None:
    for words in COMMANDS:
        word, *options = words.split()
        assert {*options} <= {name for one in main.commands[word].params for name in one.opts}


def test_loading_what_was_not_downloaded(tmp_path: Path) -> None:
    (tmp_path / GLM).mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        load_subject("sub-01", bucket=tmp_path)
    assert isinstance(caught.value, NotInBucketError)
