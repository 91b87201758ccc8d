"""The interface of the data set's own package as a table, which tests call and docs/coming-from-laion-fmri.md shows.

A name has its parameters there, calls that give the same here, what they give, and what is different on purpose.
`package_page.py` writes the page from this table.

Source: the interface of ``laion_fmri`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import pandas as pd

from intake_laion_fmri.torch_data import LaionFMRIDataset

__all__ = ["ANATOMY", "COMMANDS", "ERRORS", "SUBJECT", "TOP", "Array", "Call", "Name"]


@dataclass(frozen=True)
class Array:
    """What an array must be."""

    dtype: str
    dims: tuple[str, ...]
    """Names in the fixture ``sizes`` of test_package_api.py; a size that is not there may be any."""


@dataclass(frozen=True)
class Call:
    """One call, which is the same in both packages."""

    text: str
    """Python."""
    kind: Any = None
    """Its result: a class, an `Array`, or a dict of these; None for None."""
    error: type[Exception] | None = None
    """What it raises instead."""
    gated: bool = False
    """Whether it needs the images: where they were not given, it is an error that says where to ask."""


@dataclass(frozen=True)
class Name:
    """One name of the interface."""

    signature: str
    """Parameters, as in a definition."""
    calls: tuple[Call, ...] = ()
    different: str = ""
    """What is different here on purpose, and why."""
    labelled: str = ""
    """What gives the same as a labelled Dataset, or table."""


_SELECTION = "roi=None, mask=None, mask_source='anatomical'"
_FACE = Array("float32", ("trial", "face"))
ANATOMY = (
    "An image that is read over a network is fetched into the mirror, or else the cache, and the path is that file's."
)


_PIXELS = Array("uint8", ("trial", "y", "x", "channel"))
_OF_TRIALS = "By the row of `metadata`, as there. Negative rows count from the end."

SUBJECT: dict[str, Name] = {
    "subject_id": Name("", (Call("sub.subject_id", str),)),
    "get_sessions": Name(
        "",
        (Call("sub.get_sessions()", list),),
        "Sessions of the bucket, and not of a folder alone: nothing has to be downloaded before.",
    ),
    "get_available_rois": Name(
        "category=None",
        (Call("sub.get_available_rois('face')", list), Call("sub.get_available_rois()", list)),
        "An unknown category gives `[]` with a warning that names the nearest one.",
        "open_rois('sub-01')",
    ),
    "get_available_categories": Name("", (Call("sub.get_available_categories()", list),)),
    "get_n_voxels": Name(
        "source='anatomical', res='1pt8'",
        (Call("sub.get_n_voxels()", int), Call("sub.get_n_voxels(source='rsquare')", int)),
        "Where the bucket has no anatomical tree the mask is `rsquare`, with one warning: early releases had none.",
    ),
    "get_brain_mask": Name(
        "source='anatomical', res='1pt8'",
        (
            Call("sub.get_brain_mask()", Array("bool", ("grid",))),
            Call("sub.get_brain_mask('rsquare', None)", Array("bool", ("grid",))),
            Call("sub.get_brain_mask('r2')", error=ValueError),
        ),
    ),
    "get_betas": Name(
        "session, roi=None, mask=None, nc_threshold=None, stimuli=None, streaming=False, mask_source='anatomical'",
        (
            Call("sub.get_betas('ses-01')", Array("float32", ("trial", "anatomical"))),
            Call("sub.get_betas(session='ses-01', roi='face')", _FACE),
            Call("sub.get_betas(session=['ses-01'], roi=FACE, streaming=True)", {"ses-01": _FACE}),
            Call("sub.get_betas('ses-01', mask=sub.get_roi_mask('face'))", _FACE),
            Call("sub.get_betas('ses-01', roi='face', nc_threshold=20, stimuli='shared')", Array("float32", ("", ""))),
            Call("sub.get_betas('ses-01', roi='face', mask=[True])", error=ValueError),
            Call("sub.get_betas('ses-01', roi='faces')", error=ValueError),
        ),
        "`streaming` has no effect: a session always streams by, and scale factors in its header count. A threshold "
        "below 1 warns: maps are in percent, so `0.2` is 0.2 %.",
        "open_betas('sub-01', session=1, mask='anatomical').betas",
    ),
    "get_roi_mask": Name(
        "query, mask_source='anatomical'",
        (
            Call("sub.get_roi_mask('face')", Array("bool", ("anatomical",))),
            Call("sub.get_roi_mask('faces')", error=ValueError),
        ),
        "Expressions too: `'laionventral - V1'`.",
        "ds.in_roi.sel(roi='FFA1', drop=True)",
    ),
    "get_roi_masks": Name(
        "queries, mask_source='anatomical'",
        (
            Call(
                "sub.get_roi_masks(['FFA-1', 'face'])",
                {"FFA-1": Array("bool", ("anatomical",)), "face": Array("bool", ("anatomical",))},
            ),
        ),
        "",
        "ds.in_roi",
    ),
    "get_roi_data": Name(
        "query, format=None, hemi=None, mask_source='anatomical'",
        (
            Call(
                "sub.get_roi_data('FFA1', hemi='L')",
                {
                    "FFA1": {
                        "volume": Array("bool", ("anatomical",)),
                        "gii": {
                            "hemi-L": {"func.gii": Array("bool", ("vertex",)), "label": Array("int64", ("index",))}
                        },
                    }
                },
            ),
        ),
        "",
        "open_rois('sub-01', format='func.gii')",
    ),
    "get_noise_ceiling": Name(
        "session=None, desc=None, roi=None, mask=None, mask_source='anatomical'",
        (
            Call("sub.get_noise_ceiling('ses-01')", Array("float32", ("anatomical",))),
            Call("sub.get_noise_ceiling(desc='Noiseceiling12rep')", Array("float32", ("anatomical",))),
            Call("sub.get_noise_ceiling(session=['ses-01'], roi='face')", {"ses-01": Array("float32", ("face",))}),
            Call(
                "sub.get_noise_ceiling(desc=['NoiseceilingAllrep'], roi='face')",
                {"NoiseceilingAllrep": Array("float32", ("face",))},
            ),
            Call("sub.get_noise_ceiling(desc='Allrep')", Array("float32", ("anatomical",))),
            Call("sub.get_noise_ceiling()", error=ValueError),
            Call("sub.get_noise_ceiling(session='ses-01', desc='Noiseceiling12rep')", error=ValueError),
        ),
        "`desc='12rep'`, `'4rep'` and `'Allrep'` are understood too.",
        "ds.nc_12rep; open_noise_ceilings('sub-01', session=1)",
    ),
    "get_trial_info": Name(
        "session",
        (
            Call("sub.get_trial_info('ses-01')", pd.DataFrame),
            Call("sub.get_trial_info(['ses-01'])", {"ses-01": pd.DataFrame}),
            Call("sub.get_trial_info(None)", error=ValueError),
        ),
        "",
        "open_trials('sub-01')",
    ),
    "metadata": Name(
        "",
        (Call("sub.metadata", pd.DataFrame),),
        "Needs the public table of the stimuli only, and not the images. Warns where a session before the last one is "
        "missing, because the index counts what is there.",
        "open_trials('sub-01')",
    ),
    "images": Name(
        "",
        (
            Call("sub.images[0]", bytes, gated=True),
            Call("sub.images.get(0, as_displayed=True).mode", str, gated=True),
            Call("next(sub.images.all(session='ses-01')).mode", str, gated=True),
            Call("sub.images.array('ses-01')", _PIXELS, gated=True),
            Call("len(sub.images)", int),
        ),
        _OF_TRIALS,
        "open_stimuli(images=ds)",
    ),
    "embeddings": Name(
        "",
        (
            Call("sub.embeddings.models", list),
            Call("sub.embeddings.get('CLIP', 0)", Array("float16", ("feature",))),
            Call("sub.embeddings.all('CLIP', session='ses-01')", Array("float16", ("trial", "feature"))),
            Call("sub.embeddings.all('CLIP', session='ses-09')", error=ValueError),
            Call("sub.embeddings.get('CLIP', 10**6)", error=IndexError),
        ),
        "Images that repeat are no error.",
        "open_embeddings('CLIP', images=ds)",
    ),
    "captions": Name(
        "",
        (
            Call("sub.captions.list(0, source='human')", list),
            Call("sub.captions.human(0, limit=2)", list),
            Call("sub.captions.ai(SHARED)", str),
            Call("sub.captions.for_image(0)", pd.DataFrame),
            Call("sub.captions.list(10**6)", error=IndexError),
        ),
        _OF_TRIALS,
        "open_captions(images=ds)",
    ),
    "segmentations": Name(
        "",
        (
            Call("sub.segmentations.has_image(SHARED)", bool),
            Call("sub.segmentations.nouns(SHARED, localized_only=False)", list),
            Call("sub.segmentations.for_image(SHARED)", pd.DataFrame),
            Call(
                "sub.segmentations.get(SHARED, sub.segmentations.nouns(SHARED)[0])",
                Array("uint8", ("y", "x")),
            ),
            Call("sub.segmentations.nouns(UNIQUE)", list),
            Call("sub.segmentations.get(UNIQUE, 'dog')", error=KeyError),
        ),
        _OF_TRIALS,
        "open_segmentations(images=ds)",
    ),
    "get_n_stimuli": Name(
        "stimuli=None",
        (Call("sub.get_n_stimuli()", int), Call("sub.get_n_stimuli('shared')", int)),
        "Warns that it counts the stimuli of all subjects.",
    ),
    "has_stimuli": Name(
        "",
        (Call("sub.has_stimuli()", bool),),
        "True where the public table of the stimuli is; the images are not needed for it.",
    ),
    "has_anatomical": Name("", (Call("sub.has_anatomical()", bool),)),
    "get_anatomical_dir": Name(""),
    "has_freesurfer": Name("", (Call("sub.has_freesurfer()", bool),), "", "open_surfaces('sub-01')"),
    "get_freesurfer_dir": Name(""),
    "has_raw": Name("session=None", (Call("sub.has_raw()", bool), Call("sub.has_raw('ses-01')", bool))),
    "get_events": Name(
        "session, run=None",
        (Call("sub.get_events('ses-01')", pd.DataFrame), Call("sub.get_events('ses-01', run='02')", pd.DataFrame)),
        "Columns have types, and `session`, `run` and the betas' `trial` stand before them.",
        "open_events('sub-01', session=1)",
    ),
    "get_raw_bold": Name(
        "session, run, echo, part='mag', mask_source='anatomical'",
        (
            Call("sub.get_raw_bold('ses-01', 1, 2)", Array("float32", ("", ""))),
            Call("sub.get_raw_bold('ses-01', run='01', echo='2', part='phase')", Array("float32", ("", ""))),
            Call("sub.get_raw_bold('ses-01', 1, 9)", error=ValueError),
        ),
        "All voxels of the scanner's grid, which the masks are not on: `mask_source` has no effect.",
        "open_bold('sub-01', 1, source='raw').bold",
    ),
    "get_sbref": Name(
        "session, run, echo, part='mag', mask_source='anatomical'",
        (
            Call("sub.get_sbref('ses-01', 1, 2)", Array("float32", ("",))),
            Call("sub.get_sbref(1, run='01', echo='2')", Array("float32", ("",))),
        ),
        "As `get_raw_bold`.",
    ),
    "get_t1w": Name("*, res=None", (Call("sub.get_t1w()", Path),), ANATOMY, "sub.open_t1w()"),
    "get_t2w": Name("*, res=None", (Call("sub.get_t2w()", Path),), ANATOMY, "sub.open_t2w()"),
    "get_anatomical_brain_mask": Name("*, res=None", (Call("sub.get_anatomical_brain_mask()", Path),), ANATOMY),
    "to_nifti": Name(
        "values, output_path=None, roi=None, mask=None, mask_source='anatomical'",
        (
            Call("sub.to_nifti(np.ones(sub.get_n_voxels()), 'ones.nii.gz')"),
            Call("sub.to_nifti(np.ones(sub.get_n_voxels()))", nibabel.Nifti1Image),
            Call("sub.to_nifti(np.ones(3), roi='face')", error=ValueError),
        ),
        "Without a path it returns the image. Values of several maps make a 4-D image.",
        "to_nifti(ds.nc_12rep)",
    ),
    "to_torch_dataset": Name(
        "session, roi=None, mask=None, nc_threshold=None, image_transform=None, mask_source='anatomical'",
        (
            Call("sub.to_torch_dataset('ses-01', roi='face')", LaionFMRIDataset),
            Call("sub.to_torch_dataset(['ses-01'])", error=ValueError),
        ),
        "torch and the images are needed when an item is asked for, not before.",
        "ds.laion.to_torch(open_stimuli('sub-01', size=224))",
    ),
    "to_template": Name(
        "values, target, *, hemi=None, route='auto', surface='white', fsaverage_density='fsaverage5', "
        "fslr_density='32k', interpolation='linear', output_dir=None, desc=None, session=None, "
        "mask_source='anatomical'",
        (
            Call("sub.to_template(np.ones(sub.get_n_voxels()), 'MNI305')", nibabel.Nifti1Image),
            Call("sub.to_template(np.ones(sub.get_n_voxels()), 'MNI152')", error=ValueError),
            Call("sub.to_template(np.ones(3), 'fsaverage')", error=ValueError),
        ),
        "fsLR has no target: its spheres are not in the data set. `surface='white'` and `interpolation='linear'` are "
        "the only ones: others would give other numbers under the same names. A vertex is NaN where less than half of "
        "its weight lies on numbers; what is left is weighted anew.",
        "to_fsaverage(ds.betas), to_mni305(ds.betas)",
    ),
    "volume_to_surface": Name(
        "values, target='fsaverage'",
        (
            Call(
                "sub.volume_to_surface(np.ones((2, sub.get_n_voxels())))",
                dict.fromkeys("LR", Array("float32", ("rows", "vertices of fsaverage5"))),
            ),
        ),
    ),
    "volume_to_template": Name("values, target"),
    "surface_to_template": Name(
        "values, target='fsaverage', *, hemi=None, fsaverage_density='fsaverage5'",
        (Call("sub.surface_to_template(np.ones(642), hemi='L')", Array("float32", ("vertices of fsaverage5",))),),
    ),
    "get_voxel_coordinates": Name(
        _SELECTION,
        (Call("sub.get_voxel_coordinates(roi='face')", Array("float64", ("face", "xyz"))),),
        "",
        "ds.x, ds.y, ds.z",
    ),
}
"""Names of `Subject`."""

COMMANDS: tuple[str, ...] = (
    *("config --data-dir", "info", "download", "download-raw", "download-embeddings", "download-segmentations"),
    *("download-captions", "download-stimuli", "request-access"),
)
"""Words of its command ``laion-fmri``, which are words of ``intake-laion-fmri`` too."""

TOP: dict[str, str] = {
    **dict.fromkeys([f"download_{what}" for what in ("captions", "embeddings", "segmentations")], "download"),
    **dict.fromkeys(["download_stimuli", "request_stimulus_access", "accept_license", "accept_licenses"], "download"),
    **dict.fromkeys(["dataset_initialize", "set_data_dir", "get_data_dir"], "config"),
    **dict.fromkeys(["describe", "get_rois", "get_subjects"], "discovery"),
    **dict.fromkeys(["Group", "load_subjects"], "group"),
    **dict.fromkeys(["Stimuli", "as_displayed_rgb", "load_stimuli"], "stimuli"),
    **dict.fromkeys(["Embeddings", "load_embeddings"], "embeddings"),
    "Captions": "captions",
    "Segmentations": "segmentations",
    **dict.fromkeys(["Subject", "load_subject", "resolve_subject_id"], "subject"),
}
"""Names of ``laion_fmri`` itself → their home here."""

ERRORS: dict[str, tuple[type[Exception], str]] = {
    "DataDirNotSetError": (RuntimeError, "no folder was set with `dataset_initialize`"),
    "DataNotDownloadedError": (FileNotFoundError, "a file is neither in the bucket nor in the folder"),
    "DataNotFoundError": (FileNotFoundError, "the same"),
    "LicenseNotAcceptedError": (
        RuntimeError,
        "the images are asked for without an agreement; also a `PermissionError`",
    ),
    "NoMatchingDataError": (FileNotFoundError, "nothing matches what was to be downloaded; also a `ValueError`"),
    "StimuliNotDownloadedError": (FileNotFoundError, "there is no table of the stimuli, or no images"),
    "SubjectNotFoundError": (ValueError, "there is no such subject"),
}
"""Error → the builtin that it is, and when it is raised."""
