"""LAION-fMRI's single-trial betas as lazy, labelled xarray Datasets, through Intake or directly.

Everything is loaded on first use: importing this package imports neither xarray nor Dask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from intake_laion_fmri.axes.volumes import to_nifti
    from intake_laion_fmri.betas import open_betas, open_maps, open_noise_ceilings, open_rois, open_trials
    from intake_laion_fmri.building.build import build_store
    from intake_laion_fmri.captions import Captions
    from intake_laion_fmri.config import dataset_initialize, get_data_dir, set_data_dir
    from intake_laion_fmri.discovery import describe, get_rois, get_subjects
    from intake_laion_fmri.download import (
        accept_license,
        accept_licenses,
        download_captions,
        download_embeddings,
        download_segmentations,
        download_stimuli,
        request_stimulus_access,
    )
    from intake_laion_fmri.drivers import LaionCatalog, open_catalog
    from intake_laion_fmri.embeddings import Embeddings, load_embeddings
    from intake_laion_fmri.errors import (
        DataDirNotSetError,
        DataNotDownloadedError,
        DataNotFoundError,
        LicenseNotAcceptedError,
        NoMatchingDataError,
        StimuliNotDownloadedError,
        SubjectNotFoundError,
    )
    from intake_laion_fmri.export import presets as presets
    from intake_laion_fmri.export.brainscore import to_brainscore
    from intake_laion_fmri.group import Group, load_subjects
    from intake_laion_fmri.mirror.run import mirror_bucket
    from intake_laion_fmri.reading.anatomy import open_anatomy
    from intake_laion_fmri.reading.functional.bold import open_bold
    from intake_laion_fmri.reading.functional.events import open_events
    from intake_laion_fmri.reading.functional.localizers import open_localizers
    from intake_laion_fmri.reading.functional.participants import open_participants
    from intake_laion_fmri.reading.loading import load_betas
    from intake_laion_fmri.reading.shared_images import open_shared
    from intake_laion_fmri.reading.stimuli.captions import open_captions
    from intake_laion_fmri.reading.stimuli.embeddings import open_embeddings
    from intake_laion_fmri.reading.stimuli.images import open_stimuli
    from intake_laion_fmri.reading.stimuli.segmentations import open_segmentations, union_masks
    from intake_laion_fmri.reading.stimuli.table import open_stimulus_table
    from intake_laion_fmri.reading.surfaces import open_surfaces
    from intake_laion_fmri.segmentations import Segmentations
    from intake_laion_fmri.sources import Source
    from intake_laion_fmri.stimuli import Stimuli, as_displayed_rgb, load_stimuli
    from intake_laion_fmri.subject import Subject, load_subject, resolve_subject_id
    from intake_laion_fmri.templates import to_fsaverage, to_mni305

    cat: LaionCatalog

__version__ = "0.1.0"

__all__ = [
    "Captions",
    "DataDirNotSetError",
    "DataNotDownloadedError",
    "DataNotFoundError",
    "Embeddings",
    "Group",
    "LicenseNotAcceptedError",
    "NoMatchingDataError",
    "Segmentations",
    "Stimuli",
    "StimuliNotDownloadedError",
    "Subject",
    "SubjectNotFoundError",
    "__version__",
    "accept_license",
    "accept_licenses",
    "as_displayed_rgb",
    "build_store",
    "cat",
    "dataset_initialize",
    "describe",
    "download_captions",
    "download_embeddings",
    "download_segmentations",
    "download_stimuli",
    "get_data_dir",
    "get_rois",
    "get_subjects",
    "load_betas",
    "load_embeddings",
    "load_stimuli",
    "load_subject",
    "load_subjects",
    "mirror_bucket",
    "open_anatomy",
    "open_betas",
    "open_bold",
    "open_captions",
    "open_catalog",
    "open_embeddings",
    "open_events",
    "open_localizers",
    "open_maps",
    "open_noise_ceilings",
    "open_participants",
    "open_rois",
    "open_segmentations",
    "open_shared",
    "open_stimuli",
    "open_stimulus_table",
    "open_surfaces",
    "open_trials",
    "request_stimulus_access",
    "resolve_subject_id",
    "set_data_dir",
    "to_brainscore",
    "to_fsaverage",
    "to_mni305",
    "to_nifti",
    "union_masks",
]

_HOMES = {
    "build_store": "building.build",
    "load_betas": "reading.loading",
    "mirror_bucket": "mirror.run",
    "open_catalog": "drivers",
    "to_brainscore": "export.brainscore",
    "open_shared": "reading.shared_images",
    "to_nifti": "axes.volumes",
    "union_masks": "reading.stimuli.segmentations",
    # Names of the data set's own package.
    **dict.fromkeys(("dataset_initialize", "get_data_dir", "set_data_dir"), "config"),
    **dict.fromkeys(("describe", "get_rois", "get_subjects"), "discovery"),
    **dict.fromkeys(("Group", "load_subjects"), "group"),
    **dict.fromkeys(("Subject", "load_subject", "resolve_subject_id"), "subject"),
    **dict.fromkeys(("Stimuli", "as_displayed_rgb", "load_stimuli"), "stimuli"),
    **dict.fromkeys(
        [f"download_{kind}" for kind in ("captions", "embeddings", "segmentations", "stimuli")], "download"
    ),
    **dict.fromkeys(("accept_license", "accept_licenses", "request_stimulus_access"), "download"),
    **dict.fromkeys(("to_fsaverage", "to_mni305"), "templates"),
    **dict.fromkeys(("Embeddings", "load_embeddings"), "embeddings"),
    "Captions": "captions",
    "Segmentations": "segmentations",
    **dict.fromkeys(
        (
            *("DataDirNotSetError", "DataNotDownloadedError", "DataNotFoundError", "LicenseNotAcceptedError"),
            *("NoMatchingDataError", "StimuliNotDownloadedError", "SubjectNotFoundError"),
        ),
        "errors",
    ),
}


_MODULES = {
    *("config", "derivatives", "discovery", "download", "group", "splits", "subject"),
    *("captions", "embeddings", "segmentations", "stimuli", "templates", "torch_data"),
}
"""Modules that the data set's own package imports itself, so that ``laion_fmri.splits.load_split`` works."""


def _sources() -> Mapping[str, Source]:
    from intake_laion_fmri.sources import SOURCES

    return SOURCES


def __getattr__(name: str) -> Any:
    import importlib

    if name == "cat":
        # The entry point of `intake.cat.laion_fmri`: a catalog, opened on first use.
        value: Any = importlib.import_module(f"{__name__}.drivers").open_catalog()
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name == "presets":
        value = importlib.import_module(f"{__name__}.export.presets")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif (source := _sources().get(name.removeprefix("open_"))) and source.opener.endswith(f":{name}"):
        value = source.load()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
