"""The interface of the data set's own package, row by row: signature, kind, shape, type and order of what is here.

Each row is called on the demo bucket as a folder, on an S3 server, in a mirror without a network, and with a store of
its betas. Rows that wait for a source are marked with the reason, and counted.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import plain_arrays as oracle
import pytest
from conftest import S3
from demo_files import GLM, betas_file
from tiers import sampled

import intake_laion_fmri
from intake_laion_fmri import download, layout
from intake_laion_fmri.errors import NotInBucketError, NotYetError
from intake_laion_fmri.mirror import mirror_bucket
from intake_laion_fmri.remote.access import ObjectInfo, open_source
from intake_laion_fmri.subject import Subject, load_subject
from intake_laion_fmri.subject.waiting import WAITING

FACE = ["FFA1", "FFA2", "OFA", "pSTSfaces"]


@dataclass(frozen=True)
class Array:
    """What an array must be."""

    dtype: str
    dims: tuple[str, ...]
    """Names in `Sizes`."""


@dataclass(frozen=True)
class Row:
    """One name of the interface."""

    signature: str
    """Parameters, as in a definition."""
    call: Callable[[Subject], Any] | None = None
    """A call."""
    kind: Any = None
    """Its result: a class, an `Array`, or a dict of these."""
    error: type[Exception] | None = None
    """What the call raises instead."""


SELECTION = "roi=None, mask=None, mask_source='anatomical'"
SUBJECT: dict[str, list[Row]] = {
    "get_sessions": [Row("", lambda s: s.get_sessions(), list)],
    "get_available_rois": [Row("category=None", lambda s: s.get_available_rois("face"), list)],
    "get_available_categories": [Row("", lambda s: s.get_available_categories(), list)],
    "get_n_voxels": [Row("source='anatomical', res='1pt8'", lambda s: s.get_n_voxels(), int)],
    "get_brain_mask": [
        Row("source='anatomical', res='1pt8'", lambda s: s.get_brain_mask(), Array("bool", ("grid",))),
        Row("source='anatomical', res='1pt8'", lambda s: s.get_brain_mask("rsquare", None), Array("bool", ("grid",))),
        Row("source='anatomical', res='1pt8'", lambda s: s.get_brain_mask("r2"), error=ValueError),
    ],
    "get_betas": [
        Row(
            "session, roi=None, mask=None, nc_threshold=None, stimuli=None, streaming=False, mask_source='anatomical'",
            call,
            kind,
            error,
        )
        for call, kind, error in (
            (lambda s: s.get_betas("ses-01", mask_source="rsquare"), Array("float32", ("trial", "rsquare")), None),
            (
                lambda s: s.get_betas(session="ses-01", roi="face", mask_source="rsquare"),
                Array("float32", ("trial", "face")),
                None,
            ),
            (
                lambda s: s.get_betas(session=["ses-01"], roi=FACE, mask_source="rsquare", streaming=True),
                {"ses-01": Array("float32", ("trial", "face"))},
                None,
            ),
            (lambda s: s.get_betas("ses-01", roi="face", mask=np.ones(3, dtype=bool)), None, ValueError),
            (lambda s: s.get_betas("ses-01", roi="faces", mask_source="rsquare"), None, ValueError),
        )
    ],
    "get_roi_mask": [
        Row("query, mask_source='anatomical'", lambda s: s.get_roi_mask("face"), Array("bool", ("anatomical",))),
        Row("query, mask_source='anatomical'", lambda s: s.get_roi_mask("faces"), error=ValueError),
    ],
    "get_roi_masks": [
        Row(
            "queries, mask_source='anatomical'",
            lambda s: s.get_roi_masks(["FFA-1", "face"]),
            {"FFA-1": Array("bool", ("anatomical",)), "face": Array("bool", ("anatomical",))},
        )
    ],
    "get_roi_data": [
        Row(
            "query, format=None, hemi=None, mask_source='anatomical'",
            lambda s: s.get_roi_data("FFA1", hemi="L"),
            {
                "FFA1": {
                    "volume": Array("bool", ("anatomical",)),
                    "gii": {"hemi-L": {"func.gii": Array("bool", ("vertex",)), "label": Array("int64", ("label",))}},
                }
            },
        )
    ],
    "get_noise_ceiling": [
        Row("session=None, desc=None, roi=None, mask=None, mask_source='anatomical'", call, kind, error)
        for call, kind, error in (
            (lambda s: s.get_noise_ceiling("ses-01"), Array("float32", ("anatomical",)), None),
            (lambda s: s.get_noise_ceiling(desc="Noiseceiling12rep"), Array("float32", ("anatomical",)), None),
            (
                lambda s: s.get_noise_ceiling(session=["ses-01"], roi="face"),
                {"ses-01": Array("float32", ("face",))},
                None,
            ),
            (
                lambda s: s.get_noise_ceiling(desc=["NoiseceilingAllrep"], roi="face"),
                {"NoiseceilingAllrep": Array("float32", ("face",))},
                None,
            ),
            (lambda s: s.get_noise_ceiling(), None, ValueError),
            (lambda s: s.get_noise_ceiling(session="ses-01", desc="Noiseceiling12rep"), None, ValueError),
        )
    ],
    "get_trial_info": [
        Row("session", lambda s: s.get_trial_info("ses-01"), pd.DataFrame),
        Row("session", lambda s: s.get_trial_info(["ses-01"]), {"ses-01": pd.DataFrame}),
        Row("session", lambda s: s.get_trial_info(None), error=ValueError),  # type: ignore[arg-type]
    ],
    "metadata": [Row("", lambda s: s.metadata, error=FileNotFoundError)],
    "get_n_stimuli": [Row("stimuli=None", lambda s: s.get_n_stimuli(), error=FileNotFoundError)],
    "has_stimuli": [Row("", lambda s: s.has_stimuli(), bool)],
    "has_anatomical": [Row("", lambda s: s.has_anatomical(), bool)],
    "get_anatomical_dir": [Row("")],
    "get_t1w": [Row("*, res=None", lambda s: s.get_t1w(), error=FileNotFoundError)],
    "get_t2w": [Row("*, res=None", lambda s: s.get_t2w(), error=FileNotFoundError)],
    "get_anatomical_brain_mask": [Row("*, res=None", lambda s: s.get_anatomical_brain_mask(), error=FileNotFoundError)],
    "to_nifti": [
        Row(
            "values, output_path=None, roi=None, mask=None, mask_source='anatomical'",
            lambda s: s.to_nifti(np.ones(s.get_n_voxels())),
            nibabel.Nifti1Image,
        ),
        Row(
            "values, output_path=None, roi=None, mask=None, mask_source='anatomical'",
            lambda s: s.to_nifti(np.ones(3), roi="face"),
            error=ValueError,
        ),
    ],
    "get_voxel_coordinates": [
        Row(SELECTION, lambda s: s.get_voxel_coordinates(roi="face"), Array("float64", ("face", "xyz")))
    ],
}
CASES = [(name, number, row) for name, rows in SUBJECT.items() for number, row in enumerate(rows) if row.call]
OFFLINE = "mirror"
ORIGINS = ["folder", "s3", OFFLINE, "store"]


@pytest.fixture(scope="module")
def mirrored(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirrored")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mirror_bucket(folder, bucket=tiny, subjects="sub-01")
    return folder


@pytest.fixture
def sub(request: pytest.FixtureRequest, tiny: Path) -> Subject:
    origin = request.param
    if origin == "s3":
        s3: S3 = request.getfixturevalue("s3")
        return load_subject("sub-01", bucket=s3.url, storage_options=s3.storage_options)
    if origin == OFFLINE:
        return load_subject("sub-01", mirror=request.getfixturevalue("mirrored"), mirror_only=True)
    store = request.getfixturevalue("tiny_store") if origin == "store" else None
    return load_subject("sub-01", bucket=tiny, store=store)


@pytest.fixture(scope="module")
def sizes(tiny: Path) -> dict[str, int]:
    image = nibabel.load(betas_file(tiny, "sub-01", "ses-01"))
    return {
        "trial": image.shape[3],
        "grid": int(np.prod(image.shape[:3])),
        "anatomical": len(oracle.mask(tiny)),
        "rsquare": len(oracle.mask(tiny, "rsquare")),
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
    else:
        assert type(found) is kind


@pytest.mark.parametrize("sub", sampled(ORIGINS, keep=2), indirect=True)
@pytest.mark.parametrize(("name", "number", "row"), CASES, ids=[f"{name}-{number}" for name, number, _ in CASES])
def test_what_a_row_gives(sub: Subject, sizes: dict[str, int], name: str, number: int, row: Row) -> None:
    assert row.call is not None
    if row.error is None:
        check(row.call(sub), row.kind, sizes)
        return
    with pytest.raises(row.error):
        row.call(sub)


def parameters(signature: str) -> list[tuple[str, Any]]:
    """Return names and defaults of a signature as it is written."""
    namespace: dict[str, Any] = {}
    exec(f"def f({signature}): pass", namespace)
    return [(name, one.default) for name, one in inspect.signature(namespace["f"]).parameters.items()]


@pytest.mark.parametrize("name", SUBJECT)
def test_signatures(name: str) -> None:
    """Parameters in the same order, with the same defaults; ours may add keywords after them."""
    (signature,) = {row.signature for row in SUBJECT[name]}
    member = inspect.getattr_static(Subject, name)
    if name == "metadata":
        assert not callable(member)
        return
    found = list(inspect.signature(member).parameters.values())[1:]
    expected = parameters(signature)
    assert [(one.name, one.default) for one in found[: len(expected)]] == expected
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in found[len(expected) :])


# --- the other modules ------------------------------------------------------------------------------------------------

# Module and name → the parameters that the data set's package has.
MODULES = {
    "subject.load_subject": "subject",
    "group.load_subjects": "subjects",
    "group.Group.get_shared_betas": "session, roi=None, mask=None, nc_threshold=None, mask_source='anatomical'",
    "download.download": "subject=None, ses=None, task=None, space=None, desc=None, stat=None, suffix=None, "
    "extension=None, include_stimuli=False, include_embeddings=False, include_freesurfer=False, "
    "include_anatomical=False, include_raw=False, include_localizers=False, n_jobs=1",
    "config.dataset_initialize": "data_dir",
    "config.get_data_dir": "",
    "discovery.get_subjects": "",
    "discovery.get_rois": "subject=None, category=None",
    "discovery.describe": "",
    "discovery.inspect_bucket": "",
    "splits.list_pools": "",
    "splits.list_ood_types": "",
    "splits.list_splits": "pool=None",
    "splits.load_split": "name, pool",
    "splits.load_all_splits": "pool",
    "splits.get_train_test_ids": "name, pool, variant_id=0, ood_types=None",
    "splits.get_split_masks": "trials, name, pool, variant_id=0, ood_types=None",
}
IMAGES = "images, embeddings, captions and segmentations come with their sources"
RAW = "raw data come with their source"
COMMANDS = "its words as commands come with what they do"
WAITS = {
    **dict.fromkeys([f"Subject.{name}" for name in WAITING], "see subject/waiting.py"),
    **dict.fromkeys(
        [
            *("stimuli.Stimuli", "stimuli.load_stimuli", "embeddings.Embeddings", "embeddings.load_embeddings"),
            *("captions.Captions", "segmentations.Segmentations", "stimuli.as_displayed_rgb"),
            *("group.get_shared_images", "group.get_shared_stimulus_metadata"),
            *("download.download_stimuli", "download.download_embeddings", "download.download_captions"),
            *("download.download_segmentations", "download.request_stimulus_access", "download.accept_license"),
        ],
        IMAGES,
    ),
    **dict.fromkeys(["download.download_raw"], RAW),
    **dict.fromkeys(
        ["derivatives.localizer_statmap_path", "derivatives.localizer_effect_path"], "localizers come later"
    ),
    **dict.fromkeys(
        (
            *("config", "info", "download", "download-stimuli", "download-embeddings", "download-segmentations"),
            *("download-captions", "download-raw", "request-access"),
        ),
        COMMANDS,
    ),
    "resolve_subject_id": "its answers are not known here",
}
"""Name → why it is not compared yet."""


def found_in(name: str) -> Any:
    module, *names = name.split(".")
    return functools.reduce(getattr, names, importlib.import_module(f"intake_laion_fmri.{module}"))


@pytest.mark.parametrize("name", MODULES)
def test_signatures_of_functions(name: str) -> None:
    """A parameter that is required there may have a default here."""
    found = [one for one in inspect.signature(found_in(name)).parameters.values() if one.name != "self"]
    expected = parameters(MODULES[name])
    assert [one.name for one in found[: len(expected)]] == [parameter for parameter, _ in expected]
    for one, (_, default) in zip(found, expected, strict=False):
        assert default in (one.default, inspect.Parameter.empty)
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in found[len(expected) :])


# Names at the top that the data set's package has → their home here.
TOP = {
    **dict.fromkeys(["dataset_initialize", "get_data_dir"], "config"),
    **dict.fromkeys(["describe", "get_rois", "get_subjects"], "discovery"),
    **dict.fromkeys(["Group", "load_subjects"], "group"),
    **dict.fromkeys(["Subject", "load_subject"], "subject"),
}
ERRORS = {
    "DataDirNotSetError": RuntimeError,
    "DataNotDownloadedError": FileNotFoundError,
    "DataNotFoundError": FileNotFoundError,
    "LicenseNotAcceptedError": RuntimeError,
    "NoMatchingDataError": FileNotFoundError,
    "StimuliNotDownloadedError": FileNotFoundError,
    "SubjectNotFoundError": ValueError,
}


def test_names_at_the_top() -> None:
    for name, module in TOP.items():
        assert getattr(intake_laion_fmri, name) is found_in(f"{module}.{name}")
    for name, kind in ERRORS.items():
        assert issubclass(getattr(intake_laion_fmri, name), kind)
    assert {*TOP, *ERRORS} <= set(intake_laion_fmri.__all__)


def test_the_names_of_errors_catch_what_is_raised(tiny: Path, closed: str, tmp_path: Path) -> None:
    """Where the data set's own package raises them, and as its builtin classes."""
    sub = load_subject("sub-01", bucket=tiny)
    with pytest.raises(intake_laion_fmri.StimuliNotDownloadedError):
        sub.get_n_stimuli()
    for name in ("", "sub-"):
        with pytest.raises(intake_laion_fmri.SubjectNotFoundError, match="Not a subject"):
            load_subject(name, bucket=tiny)
    with pytest.raises(intake_laion_fmri.SubjectNotFoundError) as caught:
        load_subject("sub-02", bucket=tiny)
    assert isinstance(caught.value, intake_laion_fmri.DataNotDownloadedError)
    assert "download(subject='sub-02')" in str(caught.value)
    with pytest.raises(intake_laion_fmri.DataNotDownloadedError):
        load_subject("sub-01", bucket=tiny / "nowhere")
    with pytest.raises(intake_laion_fmri.DataNotDownloadedError):
        sub.get_t2w()
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


def test_what_waits_is_counted() -> None:
    """Whoever brings a source takes its rows out of here."""
    assert not set(WAITS) & {*MODULES, *(f"Subject.{name}" for name in SUBJECT)}
    counts = Counter(WAITS.values())
    assert (len(SUBJECT), len(MODULES), len(WAITS)) == (21, 17, 43)
    assert (counts[IMAGES], counts[COMMANDS]) == (15, 9)
    with pytest.raises(NotImplementedError) as caught:
        raise NotYetError
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("subject", ["", "sub-"])
def test_loading_no_subject(tiny: Path, subject: str) -> None:
    with pytest.raises(ValueError, match="Not a subject"):
        load_subject(subject, bucket=tiny)


def test_loading_what_was_not_downloaded(tmp_path: Path) -> None:
    (tmp_path / GLM).mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        load_subject("sub-01", bucket=tmp_path)
    assert isinstance(caught.value, NotInBucketError)
