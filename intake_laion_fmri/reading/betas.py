"""Betas of a subject as one labelled Dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.trials import Stimuli
from intake_laion_fmri.axes.voxels import Mask, NoiseCeiling
from intake_laion_fmri.errors import NotInStoreError
from intake_laion_fmri.reading.arguments import ALL, Chunks, SessionSelection, ZScore, check_argument
from intake_laion_fmri.reading.assembly import BetasParts, BucketPlan
from intake_laion_fmri.reading.contents import betas_contents
from intake_laion_fmri.reading.functional.events import trial_events
from intake_laion_fmri.reading.functional.localizers import localizer_coordinates
from intake_laion_fmri.reading.functional.sidecars import sidecar_attribute
from intake_laion_fmri.reading.origins import with_origin
from intake_laion_fmri.reading.plans.trials import TrialQuery
from intake_laion_fmri.reading.plans.voxels import VoxelQuery
from intake_laion_fmri.reading.stored import StorePlan, with_stored
from intake_laion_fmri.reading.voxel_blocks import voxel_blocks
from intake_laion_fmri.remote.access import Bucket, open_bucket, open_store
from intake_laion_fmri.splits import Pool, Role, SplitName
from intake_laion_fmri.splits.sources import SplitSource, find_source

if TYPE_CHECKING:
    import xarray as xr


def open_betas(
    subject: str,
    *,
    session: SessionSelection = ALL,
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    min_noise_ceiling: float | None = None,
    noise_ceiling: NoiseCeiling = "12rep",
    stimuli: Stimuli | None = None,
    split: SplitName | None = None,
    pool: Pool = "shared",
    role: Role = "both",
    splits: str | os.PathLike[str] | None = None,
    zscore: ZScore | None = None,
    localizers: str | None = None,
    events: str | Sequence[str] | None = None,
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    store: str | os.PathLike[str] | Bucket | None = None,
    store_options: Mapping[str, Any] | None = None,
    fallback: bool = False,
    chunks: Chunks = "session",
) -> xr.Dataset:
    """Open the single-trial betas of a subject as a lazy, labelled Dataset.

    Parameters
    ----------
    subject : str
        A subject of the bucket, such as ``"sub-01"`` or ``"01"``.
    session : str, int or sequence of these, default "all"
        ``"all"`` (every public session found), ``"ses-01"``, ``"01"``, ``1``, or a list of sessions. Only the
        number matters: session 1 may be in a folder ``ses-001``. Trials are always in the order of session numbers.
    roi : str, sequence of str, or None, default None
        A name, a category, ``"all"``, a list (union), or an expression with ``|``, ``&``, ``-`` (between spaces) and
        parentheses, by default the whole mask. Examples: ``"FFA1"``, also ``"FFA-1"``; ``"face"``;
        ``"laionventral - (V1 | hV4)"``. ``V1``, ``V2`` and ``V3`` are the union of their v and d parts, where no ROI
        has that name.
    mask : {"rsquare", "anatomical", "rsquare_or_nan"}, default "rsquare"
        The brain: voxels with a mean R2 that is neither 0 nor NaN, the wider anatomical mask, or voxels with a mean R2
        that is not 0. The last is the axis of files saved before mid-2026. ROIs are cut to it.
    min_noise_ceiling : float, optional
        Percent, 0 to 100: keep voxels with a noise ceiling of at least this. Fractions are refused.
    noise_ceiling : {"12rep", "4rep", "all"}, default "12rep"
        The map that `min_noise_ceiling` reads.
    stimuli : {"shared", "unique", "ood"}, optional
        Keep only trials that show these images. ``"shared"`` includes the out-of-distribution images.
    split : str, optional
        Keep trials whose image has a role in this train/test split: ``random_0`` to ``random_4``, ``cluster_k5_0`` to
        ``cluster_k5_4``, ``tau`` or ``ood``.
    pool : {"shared", "subject", "pooled"}, default "shared"
        The images that the split partitions: those that all subjects saw, all of this subject's, or those that any
        subject saw. Do not mix pools in one analysis: test images of one are training images of another.
    role : {"train", "test", "both"}, default "both"
        The side of the split.
    splits : str or path, optional
        Folder or URL with split files ``<pool>/<name>.json``, or a revision of the published ones: ``"2026-05"``,
        which is pinned here, or ``"2026-09"``, which an installed ``laion_fmri`` contains. By default the environment
        variable ``LAION_FMRI_SPLITS``, or the result of `splits.find_source`.
    zscore : {"session", "run"}, optional
        Scale each voxel by its mean and standard deviation (ddof 0, NaN left out) within its session or run, while
        the file streams. Both are computed over all trials, whatever is selected. Betas then have the unit ``SD``.
    localizers : str, optional
        The task of a localizer, such as ``"floc"``, whose contrasts become a coordinate along ``voxel``. They are read
        from the bucket, also with `store`.
    events : str or sequence of str, optional
        Columns of `open_events`, such as ``"response_time"``, that become coordinates along ``trial``. They are read
        from the bucket, also with `store`.
    sidecars : bool, default False
        Whether to read the JSON files beside the betas, the trial tables and the maps, into the attribute ``sidecars``:
        JSON, key → content. They are read from the bucket, also with `store`.
    bucket : str or path, optional
        URL or folder with the bucket's layout; by default the environment variable ``LAION_FMRI_BUCKET``, or
        ``s3://laion-fmri``.
    storage_options : mapping, optional
        Options of the bucket's file system; for S3 anonymous and ``us-west-2`` by default.
    mirror : str or path, optional
        Local folder with a part of the bucket, as filled by ``intake-laion-fmri mirror``. Complete and current files
        are read from it, all others from the bucket. By default the folder set by `config.dataset_initialize` in this
        process, the environment variable ``LAION_FMRI_MIRROR``, or the folder set by an earlier process.
    mirror_only : bool, optional
        Whether to read only the mirror, without a network. Files that it lacks count as absent. By default the
        environment variable ``LAION_FMRI_MIRROR_ONLY``, or False.
    store : str or path, optional
        URL or folder of a store built by `store.build_store`. Everything is read from it, without the bucket. Its
        chunks allow random access, so an ROI costs its own bytes instead of a pass over every stream.
    store_options : mapping, optional
        Options of the store's file system. For S3, credentials and region come from the usual AWS configuration; a
        public store needs ``{"anon": True}``.
    fallback : bool, default False
        Whether to read from the bucket what the store lacks, instead of raising an error. A session is read from the
        store if it holds every chosen voxel. The store may be absent.
    chunks : {"session", "voxel"} or mapping, default "session"
        Blocks of the lazy array: one per session; or, from a store only, all trials of some thousand voxels, about
        128 MB, or of as many voxels as ``{"voxel": 1024}`` names. Blocks of voxels keep the store's order, so
        ``voxel`` does not ascend: z-scores, averages, noise ceilings and regressions then need one block at a time,
        and ``sortby("voxel")`` sorts the result.

    Returns
    -------
    xarray.Dataset
        ``betas`` (trial, voxel), float32, a Dask array of one chunk per session with a selected trial. Coordinates:

        - along ``trial``: ``trial`` (index: session number x 10000 + beta_index), ``session``, ``run``,
          ``beta_index``, ``label``, ``shared``, ``dataset``, ``ood_type``, ``n_repeats``, ``repetition``;
          ``stimulus`` where the bucket has the table of `open_stimulus_table`: the label's row in it, -1 for none;
        - along ``voxel``: ``voxel`` (index: C-order flat index into the grid, ascending), ``i j k``, ``x y z`` (mm,
          subject T1w space), ``nc_12rep``, ``nc_4rep``, ``nc_all`` (percent), ``r2_mean``;
        - ``in_roi`` (roi, voxel), with ``roi`` (names) and ``roi_category``: all ROIs of the subject, whichever
          were selected;
        - ``split_role`` (pool, split, trial): 0 unused, 1 train, 2 test, in every split of the shared pool and of the
          subject's own; its attributes hold the files' revision and SHA-256 sums;
        - with `localizers`, ``localizer`` (contrast, voxel), z-values in memory, with ``contrast`` (index: names),
          ``localizer_task`` and ``localizer_session``;
        - with `events`, each column along ``trial``: numbers as float64 with NaN for missing ones, or texts;
        - ``subject`` and ``grid``, scalars. The attributes of ``grid`` are ``affine``, ``shape`` and ``space`` of the
          voxels. Means and other results keep it, so that `to_nifti` can put them back into a volume.

        Attributes: ``title``, ``affine``, ``grid_shape``, ``space``, ``mask``, ``mask_rule``, ``sources`` (JSON: key,
        size and ETag of every object; with a mirror also its ``origin``: ``"mirror"``, ``"bucket"``, or ``"folder"``
        if the bucket does not respond and the file may be outdated), ``license``, ``references``,
        ``created_with``, ``project``, ``publisher_url``.

        An empty selection gives a Dataset of length 0.

    Raises
    ------
    ValueError
        For an unknown subject, session, ROI or option (with the nearest valid ones), or a threshold that is not
        a percentage.
    NotInBucketError
        If the bucket, or an object that the selection needs, does not exist.
    NotInStoreError
        If the store lacks a part of the selection; also a NotInBucketError.
    AccessDeniedError
        For a held-out session.
    BucketUnreachableError
        If the bucket, or the store's server, does not respond.
    DataIntegrityError
        If a file that the selection needs is broken or contradicts another. Broken betas are found when they are
        computed.

    Warns
    -----
    MissingFileWarning
        Once, if optional files are absent or unusable and no selection needs them: their coordinates are left out.
    UnexpectedContentWarning
        Once, if a file differs slightly from the documentation, such as a grid that is up to 0.25 voxels off the
        mask's. The file is read.
    OtherSplitsWarning
        If split files come from an installed ``laion_fmri`` with another revision than the pinned one.
    OfflineWarning
        If the bucket does not respond and the last listing of a mirror is used instead.

    Notes
    -----
    A lossless store gives the identical Dataset. If its values are rounded, attributes of ``betas`` that begin with
    ``quantization`` give the largest error. ``stimulus`` is as of when the store was built, and so is ``split_role``
    unless `splits` or ``LAION_FMRI_SPLITS`` is given. Without ``stimulus``, a store need not be rebuilt:
    ``ds.assign_coords(stimulus=("trial", table.index.get_indexer(ds.label)))``. Opening 30 sessions
    takes some 160 small requests; computing takes one per run of adjacent chunks.

    From the bucket, opening makes three concurrent listings (four with the anatomical mask, and another one if the
    bucket is not the published one and neither `splits` nor ``LAION_FMRI_SPLITS`` is given) and reads only small files:
    the trial tables up to the last session, the subject's maps and ROI volumes, and the stimulus table, about 76
    requests for a whole subject, 16 at a time; and 22 split files, fetched once, or read from the bucket if it has its
    own. Files in the user's cache are not requested again: the listings show whether they are current. `localizers`
    adds a listing, and a request per contrast; `events` two listings per session, and a request per run; `sidecars`
    the listings again, and two requests per session.

    Computing reads each session's ``.nii.gz`` once, up to the checksum at its end; sessions without a selected trial
    are not read. This takes one decompression of the stream, two requests to check that the object was not replaced,
    and a GET per 8 MiB. Reading needs some 50 MB (100 MB from a remote bucket) besides the result. Dask's ``compute``
    then copies or joins the blocks, and briefly holds them twice; ``read()`` of a catalog's source does not.

    Selections made here are pushed down to the reader. Selections made on the Dataset afterwards still read every voxel
    that was opened. For these, write ``ds.isel(voxel=ds.in_roi.sel(roi="FFA1", drop=True))``: without
    ``drop=True`` the condition carries a scalar ``roi`` into the selection, and xarray raises an IndexError.

    With `stimuli`, `split` or `role`, a later z-score uses the mean and standard deviation of the selected trials
    instead of the session's (0.3 to 0.7 SD off for a split). `zscore` uses the session's, without a second pass.
    Alternatively open all trials, scale them with ``ds.laion.zscore()``, then select with
    ``ds.laion.trials(split="tau")``.

    Sessions differ in length, but the chunks of a Zarr array must not: `to_zarr` of lazy sessions writes chunks that
    divide all of them, often of 2 trials, and refuses to write more than 1,000. Load the Dataset first, or rechunk the
    betas to one length, which reads each session once: ``ds.assign(betas=ds.betas.chunk(trial=1000)).to_zarr(path)``.
    For whole brains, use `build_store`.

    Betas are in relative units, shrunk by a per-voxel ridge: comparable within a voxel, not across voxels. Some are
    NaN.
    """
    query = BetasQuery(
        TrialQuery.from_arguments(session, stimuli, split, pool, role),
        VoxelQuery.from_arguments(roi, mask, min_noise_ceiling, noise_ceiling),
        *(splits, zscore, localizers, events, fallback, chunks),
    )
    check_argument("store_options", store_options)
    subject = layout.subject_name(subject)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    parts = query.read(bucket, subject, None if store is None else open_store(store, store_options))
    objects = betas_contents(bucket, subject, anatomy=False).objects if check_argument("sidecars", sidecars) else {}
    extras, faults = sidecar_attribute(bucket, objects, parts.sources, wanted=sidecars)
    dataset = query.dataset(bucket, parts, extras)
    (parts.remarks + faults).warn(stacklevel=2)
    return with_origin(dataset, bucket)


@dataclass(frozen=True)
class BetasQuery:
    """A checked selection of betas, for any subject."""

    trials: TrialQuery
    """Selection of trials."""
    voxels: VoxelQuery
    """Selection of voxels."""
    splits: str | os.PathLike[str] | None
    """Like the following, an argument of `open_betas`."""
    zscore: str | None
    localizers: str | None
    events: str | Sequence[str] | None
    fallback: bool
    chunks: Chunks

    def __post_init__(self) -> None:
        for name in ("zscore", "chunks", "fallback"):
            check_argument(name, getattr(self, name))

    def read(self, bucket: Bucket, subject: str, store: Bucket | None, source: SplitSource | None = None) -> BetasParts:
        """Read the parts of a subject's Dataset; `source` defaults to `find_source`."""
        if store is not None:
            try:
                stored = StorePlan.from_store(store, subject, self.trials, self.voxels)
                return stored.read(self.trials, self.voxels, splits=self.splits, bucket=bucket, zscore=self.zscore)
            except NotInStoreError:
                if not self.fallback:
                    raise
        contents = betas_contents(bucket, subject, anatomy=self.voxels.needs_anatomy)
        source = source or find_source(self.splits, bucket=bucket)
        plan = BucketPlan.from_listing(bucket, contents, self.trials, self.voxels)
        parts = plan.read(plan.fetch(), self.trials, source, self.zscore)
        return parts if store is None else with_stored(parts, store)

    def dataset(self, bucket: Bucket, parts: BetasParts, attrs: Mapping[str, Any]) -> xr.Dataset:
        """Return the Dataset that `open_betas` describes, with further attributes."""
        if self.chunks != "session":
            order, slabs = voxel_blocks(list(parts.steps.values()), self.chunks)
            parts = replace(parts, brain=parts.brain.take(order), slabs=slabs)
        contrasts, maps = localizer_coordinates(bucket, parts.subject, self.localizers, parts.brain.axis)
        answers, tables = trial_events(bucket, parts.subject, self.events, parts.table)
        parts = replace(parts, sources=(*parts.sources, *maps, *tables))
        return parts.dataset(contrasts | answers, attrs)
