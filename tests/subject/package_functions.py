"""Rows of the other modules of the data set's own package; `package_rows` has those of `Subject`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from package_rows import ANATOMY, Array, Call, Name

from intake_laion_fmri.embeddings import Embeddings
from intake_laion_fmri.group import Group
from intake_laion_fmri.splits import Split
from intake_laion_fmri.stimuli import Stimuli
from intake_laion_fmri.subject import Subject
from intake_laion_fmri.torch_data import LaionFMRIDataset

__all__ = ["FUNCTIONS"]

_READ_ON_DEMAND = "Read from the folder first and the bucket after it; nothing has to be downloaded before."
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
    "group.load_subjects": Name(
        "subjects",
        (
            Call("group.load_subjects(['sub-01', 'sub-03'])", Group),
            Call("len(group.load_subjects('all'))", int),
            Call("group.load_subjects('all')[0]", Subject),
            Call("group.load_subjects('all')['sub-03']", Subject),
            Call("group.load_subjects('all')['sub-09']", error=KeyError),
            Call("dict(group.load_subjects('all'))", {"sub-01": Subject, "sub-03": Subject}),
        ),
    ),
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
        (
            Call("download.download(subject='sub-01', ses='averages', desc='R2mean')"),
            Call("download.download('sub-01', ['ses-01'], desc='SingletrialBetas', include_embeddings=['CLIP'])"),
            Call("download.download('sub-01', ses='ses-40')", error=FileNotFoundError),
            Call("download.download('sub-01', ses='ses-31')", error=PermissionError),
        ),
        "Content is verified, an interrupted file is continued, and a replaced one is fetched again: sizes alone would "
        "miss it. The brain mask comes along with any session, as the mean R2 does, because reading needs them.",
    ),
    "download.download_raw": Name(
        "subject=None, ses=None, task=None, run=None, echo=None, part=None, suffix=None, extension=None, n_jobs=1",
        (Call("download.download_raw('sub-01', 'ses-01', run=1, echo=2, part='mag')"),),
    ),
    "download.download_embeddings": Name(
        "models='all', data_dir=None",
        (
            Call("download.download_embeddings(['CLIP'], data_dir='data')"),
            Call("download.download_embeddings('Clip')", error=FileNotFoundError),
        ),
    ),
    "download.download_captions": Name("data_dir=None", (Call("download.download_captions()"),)),
    "download.download_segmentations": Name("data_dir=None", (Call("download.download_segmentations()"),)),
    "group.Group.get_shared_images": Name(
        "format='pil'",
        (
            Call("group.load_subjects('all').get_shared_images()", list),
            Call(
                "group.load_subjects('all').get_shared_images(format='numpy')",
                Array("uint8", ("image", "y", "x", "channel")),
            ),
        ),
    ),
    "stimuli.load_stimuli": Name(
        "data_dir=None",
        (Call("stimuli.load_stimuli()", Stimuli),),
        "Reads the bucket or a mirror as everything else does; what is absent says where the images are asked for.",
        "open_stimuli()",
    ),
    "stimuli.Stimuli": Name(
        "data_dir=None",
        (
            Call("stimuli.Stimuli().metadata", pd.DataFrame),
            Call("stimuli.Stimuli().images[0]", bytes),
            Call("stimuli.Stimuli().images[LABEL]", bytes),
            Call("stimuli.Stimuli().index_of(LABEL)", int),
            Call("stimuli.Stimuli().names()", list),
            Call("len(stimuli.Stimuli())", int),
            Call("next(iter(stimuli.Stimuli()))", tuple),
            Call("stimuli.Stimuli().get('unknown.jpg', as_displayed=True)", error=KeyError),
            Call("stimuli.Stimuli().embeddings", Embeddings),
            Call("stimuli.Stimuli().captions.ai(LABEL)", str),
            Call("stimuli.Stimuli().segmentations.nouns(LABEL)", list),
            Call("stimuli.Stimuli().close()"),
        ),
    ),
    "stimuli.as_displayed_rgb": Name(
        "image", (Call("stimuli.as_displayed_rgb(stimuli.Stimuli().get(LABEL, as_displayed=False)).mode", str),)
    ),
    "torch_data.LaionFMRIDataset": Name(
        "subject, session, roi=None, mask=None, nc_threshold=None, image_transform=None, mask_source='anatomical'",
        (Call("torch_data.LaionFMRIDataset(sub, 'ses-01', roi='face')", LaionFMRIDataset),),
    ),
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
    "download.accept_licenses": Name(
        "include_stimuli=False", (Call("download.accept_licenses()"),), "As `accept_license`."
    ),
    "derivatives.localizer_statmap_path": Name(
        "subject, task, contrast, session, space='fsnative', hemi=None, res='1pt5', data_dir=None",
        (
            Call("derivatives.localizer_statmap_path('sub-01', 'oloc', 'objectVsScrambled', '31', hemi='L')", Path),
            Call("derivatives.localizer_statmap_path('sub-01', 'flok', 'faceVsObject', '31')", error=ValueError),
            Call("derivatives.localizer_statmap_path('sub-01', 'oloc', 'x', 31, 'T1w')", error=FileNotFoundError),
            Call("derivatives.LOCALIZER_TASKS", tuple),
            Call("derivatives.VOLUME_RESOLUTIONS", tuple),
        ),
        ANATOMY,
        "open_localizers('sub-01', task='floc', contrast='faceVsObject')",
    ),
    "derivatives.localizer_effect_path": Name(
        "subject, task, condition, session, run, space='fsnative', hemi=None, res='1pt5', data_dir=None",
        (
            Call("derivatives.localizer_effect_path('sub-01', 'floc', 'face', '4BarScreenfLoc', 1, hemi='L')", Path),
            Call("derivatives.localizer_effect_path('sub-01', 'MotionLoc', 'moving', '31', 1)", error=ValueError),
        ),
        ANATOMY,
        "open_localizers('sub-01', task='floc', stat='effect')",
    ),
    "embeddings.load_embeddings": Name(
        "models='all', data_dir=None", (Call("embeddings.load_embeddings('CLIP')", Embeddings),)
    ),
    "embeddings.Embeddings": Name(
        "models, data_dir=None",
        (
            Call("embeddings.Embeddings('CLIP', 'data').models", list),
            Call("embeddings.Embeddings(['CLIP', 'DINOv2'])['DINOv2'][:]", Array("float16", ("image", "feature"))),
            Call("embeddings.Embeddings('CLIP').image_ids", Array("object", ("image",))),
            Call("'CLIP' in embeddings.Embeddings('CLIP')", bool),
            Call("list(embeddings.Embeddings('CLIP'))", list),
            Call("embeddings.Embeddings('Clip')", error=ValueError),
            Call("embeddings.Embeddings([])", error=ValueError),
        ),
        _READ_ON_DEMAND,
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
    "captions.Captions": Name(
        "data_dir=None",
        (Call("captions.Captions().metadata", pd.DataFrame), Call("captions.Captions().images()", list)),
        _READ_ON_DEMAND,
    ),
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
        "data_dir=None",
        (
            Call("segmentations.Segmentations().metadata", pd.DataFrame),
            Call("segmentations.Segmentations()[0]", Array("uint8", ("y", "x"))),
            Call("segmentations.Segmentations()[10**6]", error=IndexError),
            Call("segmentations.Segmentations().images()", list),
            Call("LABEL in segmentations.Segmentations()", bool),
        ),
        _READ_ON_DEMAND,
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
    "config.set_data_dir": Name("data_dir", (Call("config.set_data_dir('nowhere')", error=FileNotFoundError),)),
    "config.get_data_dir": Name("", (Call("config.get_data_dir()", str),)),
    "discovery.get_subjects": Name("", (Call("discovery.get_subjects()", list),), "Needs no `aws` command."),
    "discovery.get_rois": Name("subject=None, category=None", (Call("discovery.get_rois(category='face')", list),)),
    "discovery.describe": Name("", (Call("discovery.describe()"),)),
    "discovery.inspect_bucket": Name("", (Call("discovery.inspect_bucket()"),)),
    "splits.list_pools": Name("", (Call("splits.list_pools()", list),)),
    "splits.list_ood_types": Name("", (Call("splits.list_ood_types()", list),)),
    "splits.list_splits": Name(
        "pool=None",
        (
            Call("splits.list_splits()", list),
            Call("splits.list_splits('shared')", list),
            Call("splits.list_splits('nothing')", error=ValueError),
        ),
        "The pool `pooled` is there where the split files have it: those of September 2026 do, the pinned ones do not.",
    ),
    "splits.load_split": Name(
        "name, pool",
        (
            Call("splits.load_split('tau', 'shared')", Split),
            Call("splits.load_split('random_0', pool='sub-01').split_family", str),
            Call("splits.load_split('tau', 'shared').variants[0].all_ids()", list),
            Call("splits.load_split('ta', 'shared')", error=ValueError),
            Call("splits.load_split('tau', 'nothing')", error=ValueError),
        ),
        "The random splits have had three revisions under the same names: one is pinned, `Split.revision` tells which, "
        "and an installed package with another one is used with a warning.",
        "ds.split_role",
    ),
    "splits.load_all_splits": Name("pool", (Call("splits.load_all_splits('shared')", dict),)),
    "splits.get_train_test_ids": Name(
        "name, pool, variant_id=0, ood_types=None",
        (
            Call("splits.get_train_test_ids('tau', 'shared')", tuple),
            Call("splits.get_train_test_ids('ood', 'shared', ood_types=['shape'])", tuple),
            Call("splits.get_train_test_ids('tau', 'shared', variant_id=1)", error=ValueError),
            Call("splits.get_train_test_ids('tau', 'shared', ood_types=['shape'])", error=ValueError),
        ),
    ),
    "splits.get_split_masks": Name(
        "trials, name, pool, variant_id=0, ood_types=None",
        (
            Call("splits.get_split_masks(sub.get_trial_info('ses-01'), 'tau', 'shared')", tuple),
            Call("splits.get_split_masks(sub.get_trial_info('ses-01')['label'], 'tau', 'shared')", tuple),
            Call("splits.get_split_masks(sub.get_trial_info(['ses-01']), 'tau', 'shared')", error=TypeError),
            Call("splits.get_split_masks('tau', 'tau', 'shared')", error=TypeError),
        ),
        "",
        "open_betas('sub-01', split='tau', role='train')",
    ),
}
"""Functions and methods of the other modules; one that is required there may have a default here."""
