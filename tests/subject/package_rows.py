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

from intake_laion_fmri.embeddings import Embeddings
from intake_laion_fmri.group import Group
from intake_laion_fmri.splits import Split
from intake_laion_fmri.stimuli import Stimuli
from intake_laion_fmri.subject import Subject
from intake_laion_fmri.subject.torch_items import SessionItems

__all__ = ["COMMANDS", "ERRORS", "FUNCTIONS", "SUBJECT", "TOP", "Array", "Call", "Name"]


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
_ANATOMY = (
    "An image that is read over a network is fetched into the mirror, or else the cache, and the path is that file's."
)

_READ_ON_DEMAND = "Read from the folder first and the bucket after it; nothing has to be downloaded before."

SUBJECT: dict[str, Name] = {
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
            Call("sub.get_noise_ceiling()", error=ValueError),
            Call("sub.get_noise_ceiling(session='ses-01', desc='Noiseceiling12rep')", error=ValueError),
        ),
        "`desc='12rep'` is understood too.",
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
    "get_n_stimuli": Name(
        "stimuli=None",
        (Call("sub.get_n_stimuli()", int),),
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
        (Call("sub.get_events('ses-01')", pd.DataFrame), Call("sub.get_events('ses-01', 2)", pd.DataFrame)),
        "Columns have types, and `session`, `run` and the betas' `trial` stand before them.",
        "open_events('sub-01', session=1)",
    ),
    "get_raw_bold": Name(
        "session, run, echo, part='mag', mask_source='anatomical'",
        (Call("sub.get_raw_bold('ses-01', 1, 2)", Array("float32", ("", ""))),),
        "All voxels of the scanner's grid, which the masks are not on: `mask_source` has no effect.",
        "open_bold('sub-01', 1, source='raw').bold",
    ),
    "get_sbref": Name(
        "session, run, echo, part='mag', mask_source='anatomical'",
        (Call("sub.get_sbref('ses-01', 1, 2)", Array("float32", ("",))),),
        "As `get_raw_bold`.",
    ),
    "get_t1w": Name("*, res=None", (Call("sub.get_t1w()", Path),), _ANATOMY, "sub.open_t1w()"),
    "get_t2w": Name("*, res=None", (Call("sub.get_t2w()", Path),), _ANATOMY, "sub.open_t2w()"),
    "get_anatomical_brain_mask": Name("*, res=None", (Call("sub.get_anatomical_brain_mask()", Path),), _ANATOMY),
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
            Call("sub.to_torch_dataset('ses-01', roi='face')", SessionItems),
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
        "fsLR has no target: its spheres are not in the data set. A vertex is NaN where less than half of its weight "
        "lies on numbers; what is left is weighted anew.",
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

_SHARED = Array("float32", ("shared trial", "voxel of its own"))
FUNCTIONS: dict[str, Name] = {
    "subject.load_subject": Name(
        "subject",
        (
            Call("subject.load_subject('sub-01')", Subject),
            Call("subject.load_subject(1)", error=TypeError),
            Call("subject.load_subject('')", error=ValueError),
        ),
        "Reads the bucket itself: a subject need not be downloaded. `bucket=`, `mirror=` and `store=` say where else. "
        "The error for a subject that is not there is a `SubjectNotFoundError` and a `DataNotDownloadedError`.",
    ),
    "subject.resolve_subject_id": Name(
        "subject",
        (Call("subject.resolve_subject_id('01')", str), Call("subject.resolve_subject_id('sub-')", error=ValueError)),
    ),
    "group.load_subjects": Name("subjects", (Call("group.load_subjects(['sub-01', 'sub-03'])", Group),)),
    "group.Group.get_shared_betas": Name(
        "session, roi=None, mask=None, nc_threshold=None, mask_source='anatomical'",
        (
            Call(
                "group.load_subjects('all').get_shared_betas('ses-01', roi='face')",
                {"sub-01": _SHARED, "sub-03": _SHARED},
            ),
        ),
        "Warns that rows are not aligned between subjects: each has its own trials, in its order.",
    ),
    "group.Group.get_shared_stimulus_metadata": Name(
        "", (Call("group.load_subjects('all').get_shared_stimulus_metadata()", pd.DataFrame),)
    ),
    "download.download": Name(
        "subject=None, ses=None, task=None, space=None, desc=None, stat=None, suffix=None, "
        "extension=None, include_stimuli=False, include_embeddings=False, include_freesurfer=False, "
        "include_anatomical=False, include_raw=False, include_localizers=False, n_jobs=1",
        (Call("download.download(subject='sub-01', ses='averages', desc='R2mean')"),),
        "Content is verified, an interrupted file is continued, and a replaced one is fetched again: sizes alone would "
        "miss it. The brain mask comes along with any session, because reading needs it.",
    ),
    "download.download_raw": Name(
        "subject=None, ses=None, task=None, run=None, echo=None, part=None, suffix=None, extension=None, n_jobs=1"
    ),
    "download.download_embeddings": Name("models='all', data_dir=None"),
    "download.download_captions": Name("data_dir=None"),
    "download.download_segmentations": Name("data_dir=None"),
    "group.Group.get_shared_images": Name("format='pil'"),
    "stimuli.load_stimuli": Name(
        "data_dir=None",
        (Call("stimuli.load_stimuli()", Stimuli),),
        "Reads the bucket or a mirror as everything else does; what is absent says where the images are asked for.",
        "open_stimuli()",
    ),
    "stimuli.Stimuli": Name("data_dir=None"),
    "stimuli.as_displayed_rgb": Name("image"),
    "download.download_stimuli": Name(
        "data_dir=None, server_url=None",
        (),
        "Takes a request id from `LAION_FMRI_REQUEST_ID` or where their package keeps it; fills in no form.",
    ),
    "download.request_stimulus_access": Name(
        "",
        (Call("download.request_stimulus_access()", str),),
        "Prints the form's address and returns it; no connection is made, and nothing about the user is sent.",
    ),
    "download.accept_license": Name(
        "", (Call("download.accept_license()"),), "Prints the licence: nothing has to be accepted before a download."
    ),
    "derivatives.localizer_statmap_path": Name(
        "subject, task, contrast, session, space='fsnative', hemi=None, res='1pt5', data_dir=None",
        (Call("derivatives.localizer_statmap_path('sub-01', 'flok', 'faceVsObject', '31')", error=ValueError),),
        _ANATOMY,
        "open_localizers('sub-01', task='floc', contrast='faceVsObject')",
    ),
    "derivatives.localizer_effect_path": Name(
        "subject, task, condition, session, run, space='fsnative', hemi=None, res='1pt5', data_dir=None",
        (Call("derivatives.localizer_effect_path('sub-01', 'MotionLoc', 'moving', '31', 1)", error=ValueError),),
        _ANATOMY,
        "open_localizers('sub-01', task='floc', stat='effect')",
    ),
    "embeddings.load_embeddings": Name(
        "models='all', data_dir=None", (Call("embeddings.load_embeddings('CLIP')", Embeddings),)
    ),
    "embeddings.Embeddings": Name(
        "models, data_dir=None", (Call("embeddings.Embeddings('Clip')", error=ValueError),), _READ_ON_DEMAND
    ),
    "embeddings.Embeddings.get": Name(
        "model, image_name",
        (
            Call(
                "embeddings.load_embeddings('CLIP').get('CLIP', [LABEL, LABEL])", Array("float16", ("pair", "feature"))
            ),
        ),
        "Repeated images are allowed. Rows are in the order of the stimulus table, and `[model]` is an array.",
        "open_embeddings('CLIP', images=betas)",
    ),
    "captions.Captions": Name("data_dir=None", (Call("captions.Captions().metadata", pd.DataFrame),), _READ_ON_DEMAND),
    "captions.Captions.get": Name(
        "image_name", (Call("captions.Captions().get(LABEL)", pd.DataFrame),), "", "open_captions(LABEL)"
    ),
    "captions.Captions.list": Name(
        "image_name, source=None",
        (
            Call("captions.Captions().list(LABEL)", list),
            Call("captions.Captions().list(LABEL, 'humans')", error=ValueError),
        ),
    ),
    "captions.Captions.human": Name("image_name, limit=None", (Call("captions.Captions().human(LABEL, 2)", list),)),
    "captions.Captions.ai": Name("image_name", (Call("captions.Captions().ai(LABEL)", str),)),
    "segmentations.Segmentations": Name(
        "data_dir=None", (Call("segmentations.Segmentations().metadata", pd.DataFrame),), _READ_ON_DEMAND
    ),
    "segmentations.Segmentations.get": Name(
        "image_name, noun, instance=0",
        (
            Call(
                "segmentations.Segmentations().get(LABEL, segmentations.Segmentations().nouns(LABEL)[0])",
                Array("uint8", ("y", "x")),
            ),
            Call("segmentations.Segmentations().get(LABEL, 'nothing')", error=KeyError),
        ),
        "",
        "open_segmentations(LABEL)",
    ),
    "segmentations.Segmentations.for_image": Name(
        "image_name", (Call("segmentations.Segmentations().for_image(LABEL)", pd.DataFrame),)
    ),
    "segmentations.Segmentations.nouns": Name(
        "image_name, localized_only=True", (Call("segmentations.Segmentations().nouns(LABEL)", list),)
    ),
    "segmentations.Segmentations.has_image": Name(
        "image_name", (Call("segmentations.Segmentations().has_image('unknown.jpg')", bool),)
    ),
    "config.dataset_initialize": Name(
        "data_dir",
        (Call("config.dataset_initialize('data')"),),
        "The folder is read first, and the bucket after it. `LAION_FMRI_MIRROR_ONLY=1` forbids the network.",
    ),
    "config.get_data_dir": Name("", (Call("config.get_data_dir()", str),)),
    "discovery.get_subjects": Name("", (Call("discovery.get_subjects()", list),), "Needs no `aws` command."),
    "discovery.get_rois": Name("subject=None, category=None", (Call("discovery.get_rois(category='face')", list),)),
    "discovery.describe": Name("", (Call("discovery.describe()"),)),
    "discovery.inspect_bucket": Name("", (Call("discovery.inspect_bucket()"),)),
    "splits.list_pools": Name("", (Call("splits.list_pools()", list),)),
    "splits.list_ood_types": Name("", (Call("splits.list_ood_types()", list),)),
    "splits.list_splits": Name("pool=None", (Call("splits.list_splits('shared')", list),)),
    "splits.load_split": Name(
        "name, pool",
        (Call("splits.load_split('tau', 'shared')", Split),),
        "The random splits have had three revisions under the same names: one is pinned, `Split.revision` tells which, "
        "and an installed package with another one is used with a warning.",
        "ds.split_role",
    ),
    "splits.load_all_splits": Name("pool", (Call("splits.load_all_splits('shared')", dict),)),
    "splits.get_train_test_ids": Name(
        "name, pool, variant_id=0, ood_types=None", (Call("splits.get_train_test_ids('tau', 'shared')", tuple),)
    ),
    "splits.get_split_masks": Name(
        "trials, name, pool, variant_id=0, ood_types=None",
        (Call("splits.get_split_masks(sub.get_trial_info('ses-01'), 'tau', 'shared')", tuple),),
        "",
        "open_betas('sub-01', split='tau', role='train')",
    ),
}
"""Functions and methods of the other modules; one that is required there may have a default here."""

COMMANDS: tuple[str, ...] = (
    *("config --data-dir", "info", "download", "download-raw", "download-embeddings", "download-segmentations"),
    *("download-captions", "download-stimuli", "request-access"),
)
"""Words of its command ``laion-fmri``, which are words of ``intake-laion-fmri`` too."""

TOP: dict[str, str] = {
    **dict.fromkeys([f"download_{what}" for what in ("captions", "embeddings", "segmentations")], "download"),
    **dict.fromkeys(["download_stimuli", "request_stimulus_access"], "download"),
    **dict.fromkeys(["dataset_initialize", "get_data_dir"], "config"),
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
    "DataDirNotSetError": (RuntimeError, "no folder was named with `dataset_initialize`"),
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
