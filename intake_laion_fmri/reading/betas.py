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
        ``"all"`` (every public session found), ``"ses-01"``, ``"01"``, ``1``, or a list of sessions. The number counts:
        session 1 may have the folder ``ses-001``. Trials always come in the order of the sessions' numbers.
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
        Keep trials that show such images only. ``"shared"`` includes the out-of-distribution images.
    split : str, optional
        Keep trials whose image has a role in this train/test split: ``random_0`` to ``random_4``, ``cluster_k5_0`` to
        ``cluster_k5_4``, ``tau`` or ``ood``.
    pool : {"shared", "subject", "pooled"}, default "shared"
        The images that the split is a partition of: those that all subjects saw, all of this subject's, or those that
        any subject saw. Do not mix pools in one analysis: test images of one are train images of the other.
    role : {"train", "test", "both"}, default "both"
        The side of the split.
    splits : str or path, optional
        Folder or URL with split files ``<pool>/<name>.json``, or a revision of the published ones: ``"2026-05"``,
        which is pinned here, or ``"2026-09"``, which an installed ``laion_fmri`` brings. By default the environment
        variable ``LAION_FMRI_SPLITS``, or what `splits.find_source` finds.
    zscore : {"session", "run"}, optional
        Scale each voxel by its mean and standard deviation (ddof 0, NaN left out) within its session or run: over all
        trials of it, whatever is selected, while the stream passes. Betas have the unit ``SD`` then.
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
        Local folder with a part of the bucket, such as ``intake-laion-fmri mirror`` fills, read first. What is there,
        complete and as the bucket has it now, is read from there, the rest from the bucket. By default the folder that
        `config.dataset_initialize` has named in this process, the environment variable ``LAION_FMRI_MIRROR``, or the
        folder that an earlier process has named.
    mirror_only : bool, optional
        Whether to read the mirror alone, without a network. What is not there does not exist.
        By default the environment variable ``LAION_FMRI_MIRROR_ONLY``, or False.
    store : str or path, optional
        URL or folder of a store that `store.build_store` has built. Everything is read from there, and the bucket is
        not asked. A session's chunks can be read at random, so an ROI costs its own bytes and not a pass over every
        stream.
    store_options : mapping, optional
        Options of the store's file system. For S3 credentials and region are found as in every other program; a
        public store needs ``{"anon": True}``.
    fallback : bool, default False
        Whether to read from the bucket what the store does not hold; otherwise that is an error. From the store come
        whole sessions, of which it holds every chosen voxel. It need not be there.
    chunks : {"session", "voxel"} or mapping, default "session"
        The blocks of the lazy array: a session each; or, from a store alone, all trials and some thousand voxels, about
        128 MB, or as many voxels as ``{"voxel": 1024}`` says. Blocks of voxels come in the order in which the store
        holds them, so that ``voxel`` does not ascend: z-scores, averages, noise ceilings and regressions then need no
        block but one at a time, and ``sortby("voxel")`` puts a result in order.

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
          subject's own; its attributes tell the files' revision and SHA-256 sums;
        - with `localizers`, ``localizer`` (contrast, voxel), z-values in memory, with ``contrast`` (index: names),
          ``localizer_task`` and ``localizer_session``;
        - with `events`, each column along ``trial``: numbers as float64 with NaN for none, or texts;
        - ``subject`` and ``grid``, scalars. The attributes of ``grid`` are ``affine``, ``shape`` and ``space`` of the
          voxels; it stays with means and other results, which `to_nifti` puts back into a volume by it.

        Attributes: ``title``, ``affine``, ``grid_shape``, ``space``, ``mask``, ``mask_rule``, ``sources`` (JSON: key,
        size and ETag of every object; with a mirror also its ``origin``: ``"mirror"``, ``"bucket"``, or ``"folder"``
        where the bucket does not respond and nothing tells whether the file is current), ``license``, ``references``,
        ``created_with``, ``project``, ``publisher_url``.

        A selection that leaves nothing gives a Dataset of length 0.

    Raises
    ------
    ValueError
        For an unknown subject, session, ROI or option (with the nearest valid ones), or a threshold that is no
        percentage.
    NotInBucketError
        If the bucket, or an object that the selection needs, does not exist.
    NotInStoreError
        If the store holds less than is asked for; it is a NotInBucketError too.
    AccessDeniedError
        For a held-out session.
    BucketUnreachableError
        If the bucket, or the store's server, does not respond.
    DataIntegrityError
        If a file that the selection needs is broken or contradicts another. For the betas themselves this is found when
        they are computed.

    Warns
    -----
    MissingFileWarning
        Once, if optional files are absent or of no use, and no selection needs them: their coordinates are left out.
    UnexpectedContentWarning
        Once, if a file differs a little from what is documented, such as a grid that lies up to 0.25 voxels beside the
        mask's. It is read.
    OtherSplitsWarning
        If split files of an installed ``laion_fmri`` are used that are of another revision than the pinned one.
    OfflineWarning
        If the bucket does not respond and a mirror's last listing stands in for it.

    Notes
    -----
    From a lossless store comes the identical Dataset. From one with rounded values, attributes of ``betas`` that begin
    with ``quantization`` tell how far they may be off. ``split_role`` is then what was found when the store was built,
    unless `splits` or ``LAION_FMRI_SPLITS`` is given, and so is ``stimulus``. A store that was built without it need
    not be built again: ``ds.assign_coords(stimulus=("trial", table.index.get_indexer(ds.label)))``. Opening 30 sessions
    costs some 160 small requests; computing one per run of chunks that lie side by side.

    From the bucket, opening makes three listings at once (four with the anatomical mask; then one more where the bucket
    is not the published one and neither `splits` nor ``LAION_FMRI_SPLITS`` is given) and reads only small files: the
    trial tables up to the last session, the subject's maps and its ROI volumes, the stimulus table, about 76 requests
    for a whole subject, 16 at a time; and 22 split files, which are fetched once, or read from the bucket where it
    holds its own. What the user's cache holds is not asked for again: the listings tell whether it is current.
    `localizers` cost one more listing, and a request per contrast; `events` two listings a session, and a
    request per run; `sidecars` the listings again, and two requests a session.

    Computing reads each session's ``.nii.gz`` once, to its end, where its checksum is; a session without a selected
    trial is not read. It costs one unpacking of that stream, two requests that tell whether the object was replaced,
    and a GET per 8 MiB. Reading takes some 50 MB (100 MB from a remote bucket) beside the result. Dask's ``compute``
    then copies or joins the blocks, and holds them twice for a moment; ``read()`` of a catalog's source does not.

    Selections made here are pushed down to that reading; selections made later on the Dataset are not: they still read
    every voxel that was opened. Later, write ``ds.isel(voxel=ds.in_roi.sel(roi="FFA1", drop=True))``: without
    ``drop=True`` the condition carries a scalar ``roi`` into the selection, and xarray raises an IndexError.

    After `stimuli`, `split` or `role` only the selected trials are there, and a z-score over them has their mean and
    standard deviation instead of the session's (0.3 to 0.7 SD off for a split). `zscore` has the session's, without a
    second pass. Opened without it, ``ds.laion.zscore()`` scales all trials, and ``ds.laion.trials(split="tau")`` then
    selects.

    Sessions differ in length, and the chunks of a Zarr array may not: `to_zarr` of lazy sessions writes chunks that
    divide them, often of 2 trials, and refuses to write more than 1,000. Load the Dataset first, or give the betas
    chunks of one length, which reads each session once: ``ds.assign(betas=ds.betas.chunk(trial=1000)).to_zarr(path)``.
    For whole brains there is `build_store`.

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
    """Of the trials."""
    voxels: VoxelQuery
    """Of the voxels."""
    splits: str | os.PathLike[str] | None
    """As of `open_betas`, as all that follow."""
    zscore: str | None
    localizers: str | None
    events: str | Sequence[str] | None
    fallback: bool
    chunks: Chunks

    def __post_init__(self) -> None:
        for name in ("zscore", "chunks", "fallback"):
            check_argument(name, getattr(self, name))

    def read(self, bucket: Bucket, subject: str, store: Bucket | None, source: SplitSource | None = None) -> BetasParts:
        """Read the parts of a subject's Dataset.

        `source` is the source of split files, if it is known already.
        """
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
