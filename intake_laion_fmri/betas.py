"""The assembler: keys, both axes and one task per session become one labelled Dataset.

What every Dataset of this package holds is told in `open_betas`; the other functions return parts of the same.
"""

from __future__ import annotations

import functools
import io
import json
import math
import numbers
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.access import Bucket, ObjectInfo, check_storage_options, open_bucket
from intake_laion_fmri.discovery import SubjectContents, subject_contents
from intake_laion_fmri.errors import (
    AccessDeniedError,
    DataIntegrityError,
    MissingFileWarning,
    NotInBucketError,
    unknown_value,
)
from intake_laion_fmri.nifti import Gather, VolumeReader
from intake_laion_fmri.rois import RoiMembership, RoiSelection, check_selection, roi_coordinates
from intake_laion_fmri.trials import STIMULI, TRIAL, read_trials, stack_sessions, stimuli_of, trial_coordinates
from intake_laion_fmri.voxels import MASKS, VOXEL, Coordinates, Grid, VoxelAxis

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    import xarray as xr

__all__ = ["SessionBlock", "check_argument", "open_betas", "open_noise_ceilings", "open_rois", "open_trials"]

ALL_SESSIONS = "all"

SessionSelection = str | int | Sequence[str | int]
"""``"all"``, a session, or a list of sessions."""

_NC_PREFIX = "nc_"
_MAP_ATTRS: Mapping[str, Mapping[str, str]] = {
    "nc_12rep": {"long_name": "noise ceiling from images shown 12 times", "units": "percent"},
    "nc_4rep": {"long_name": "noise ceiling from images shown 4 times", "units": "percent"},
    "nc_all": {"long_name": "noise ceiling from all repeated images", "units": "percent"},
    "r2_mean": {"long_name": "variance explained by the GLM, mean over sessions"},
}
"""Coordinates along ``voxel`` that come from subject-level maps → their attributes."""

_BETAS_ATTRS = {"long_name": "single-trial GLMsingle TYPED betas", "units": "relative units"}


def open_betas(
    subject: str,
    *,
    session: SessionSelection = ALL_SESSIONS,
    roi: RoiSelection | None = None,
    mask: str = "rsquare",
    min_noise_ceiling: float | None = None,
    noise_ceiling: str = "12rep",
    stimuli: str | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open the single-trial betas of a subject as a lazy, labelled Dataset.

    Parameters
    ----------
    subject : str
        ``"sub-01"`` or ``"01"``.
    session : str, int or sequence of these, default "all"
        ``"all"`` is every public session found; ``"ses-01"``, ``"01"``, ``1``, or a list. Trials always come in the
        order of the sessions' numbers.
    roi : str, sequence of str, or None, default None
        A name (``"FFA1"``, also ``"FFA-1"``), a category (``"face"``), ``"all"``, a list (union), or an expression
        with ``|``, ``&``, `` - `` and parentheses, as in ``"laionventral - (V1v | V1d | hV4)"``.
        None is the whole mask.
    mask : {"rsquare", "anatomical"}, default "rsquare"
        The brain: voxels with a mean R2 above 0, or the wider anatomical mask. ROIs are cut to it.
    min_noise_ceiling : float, optional
        Keep voxels with a noise ceiling of at least so many **percent** (0 to 100). Fractions are refused.
    noise_ceiling : {"12rep", "4rep", "all"}, default "12rep"
        The map that `min_noise_ceiling` reads.
    stimuli : {"shared", "unique", "ood"}, optional
        Keep trials that show such images only. ``"shared"`` includes the out-of-distribution images.
    bucket : str or path, optional
        URL or folder with the bucket's layout. By default the environment variable ``LAION_FMRI_BUCKET``, or
        ``s3://laion-fmri``.
    storage_options : mapping, optional
        Options of the bucket's file system; for S3 anonymous and ``us-west-2`` by default.

    Returns
    -------
    xarray.Dataset
        ``betas`` (trial, voxel), float32, a Dask array of one chunk per session with a selected trial. Coordinates:

        - along ``trial``: ``trial`` (index: session number x 10000 + beta_index), ``session``, ``run``,
          ``beta_index``, ``label``, ``shared``, ``dataset``, ``ood_type``, ``n_repeats``, ``repetition``;
        - along ``voxel``: ``voxel`` (index: C-order flat index into the grid, ascending), ``i j k``, ``x y z`` (mm,
          subject T1w space), ``nc_12rep``, ``nc_4rep``, ``nc_all`` (percent), ``r2_mean``;
        - ``in_roi`` (roi, voxel), with ``roi`` (names) and ``roi_category``: all ROIs of the subject, whichever
          were selected;
        - ``subject``, a scalar.

        Attributes: ``affine``, ``grid_shape``, ``space``, ``mask``, ``mask_rule``, ``sources`` (JSON: key, size and
        ETag of every object), ``license``, ``references``, ``created_with``.

        A selection that leaves nothing gives a Dataset of length 0.

    Raises
    ------
    ValueError
        For an unknown subject, session, ROI or option (with the nearest valid ones), or a threshold that is no
        percentage.
    NotInBucketError
        If the bucket, or an object that the selection needs, does not exist.
    AccessDeniedError
        For a held-out session.
    BucketUnreachableError
        If the bucket does not answer.
    DataIntegrityError
        If a file is broken or contradicts another. For the betas themselves this is found when they are computed.

    Warns
    -----
    MissingFileWarning
        Once, if optional files are absent: their coordinates are left out.

    Notes
    -----
    Opening makes two listings (three with the anatomical mask) and reads only small files: the trial tables up to
    the last session, the subject's maps and its ROI volumes, about 75 requests for a whole subject, 16 at a time.
    Computing reads each session's ``.nii.gz`` once, from its start to its last selected trial; a session without
    any is not read. It costs one unpacking of that stream, and the memory of the result plus about 10 MB (45 MB
    from a remote bucket). Selections made here are pushed down to that reading; selections made later on the
    Dataset are not: they still read every voxel that was opened.

    Betas are in relative units, shrunk by a per-voxel ridge: comparable within a voxel, not across voxels. Some are
    NaN.
    """
    import xarray as xr

    sessions = _check_sessions(session)
    check_argument("stimuli", stimuli)
    voxel_query = _VoxelQuery.of(roi, mask, min_noise_ceiling, noise_ceiling)
    place = open_bucket(bucket, storage_options)
    contents = subject_contents(place, layout.subject_name(subject), anatomy=voxel_query.needs_anatomy)
    trial_plan = _TrialPlan.of(place, contents, sessions)
    voxel_plan = _VoxelPlan.of(place, contents, voxel_query)
    files = place.fetch([*trial_plan.tables.values(), *voxel_plan.files])

    table = trial_plan.read(place, files)
    lengths = table.groupby("session").size()
    if stimuli is not None:
        table = table[stimuli_of(table, stimuli)]
    axis, voxel_coordinates = voxel_plan.read(place, files, voxel_query)

    blocks = []
    for name in trial_plan.sessions:
        volumes = table["beta_index"].to_numpy()[(table["session"] == name).to_numpy()]
        blocks.append(
            SessionBlock(place, trial_plan.betas[name], axis.grid, int(lengths[name]), tuple(map(int, volumes)))
        )
    used = [*(block.info for block in blocks), *(trial_plan.tables[name] for name in trial_plan.sessions)]
    betas = _lazy_betas(blocks, axis)
    dataset = xr.Dataset(
        {"betas": ((TRIAL, VOXEL), betas, _BETAS_ATTRS, _encoding(betas))},
        coords={**trial_coordinates(table), **voxel_coordinates, "subject": _subject_coordinate(contents.subject)},
        attrs=_attributes(axis.grid, voxel_query.mask, [*used, *voxel_plan.files]),
    )
    _warn_of_missing([*trial_plan.missing, *voxel_plan.missing])
    return dataset


def open_trials(
    subject: str,
    *,
    session: SessionSelection = ALL_SESSIONS,
    stimuli: str | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Read the trial table of a subject.

    Parameters
    ----------
    subject, session, stimuli, bucket, storage_options
        As in `open_betas`.

    Returns
    -------
    pandas.DataFrame
        One row per trial, with the index ``trial`` and the columns of `open_betas`'s coordinates along ``trial``.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`.
    """
    sessions = _check_sessions(session)
    check_argument("stimuli", stimuli)
    place = open_bucket(bucket, storage_options)
    contents = subject_contents(place, layout.subject_name(subject))
    plan = _TrialPlan.of(place, contents, sessions)
    table = plan.read(place, place.fetch(plan.tables.values()))
    _warn_of_missing(plan.missing)
    return table if stimuli is None else table[stimuli_of(table, stimuli)]


def open_rois(
    subject: str,
    *,
    roi: RoiSelection | None = None,
    mask: str = "rsquare",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Read which voxels belong to which ROI of a subject.

    Parameters
    ----------
    subject, roi, mask, bucket, storage_options
        As in `open_betas`; `roi` chooses the voxels, not the ROIs: all of them are given for these voxels.

    Returns
    -------
    xarray.Dataset
        ``in_roi`` (roi, voxel), bool, with the coordinates of `open_betas` that follow from the grid and the ROIs.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; NotInBucketError also where the subject has no ROI at all.
    """
    dataset, contents, place = _open_voxels(subject, roi, mask, bucket, storage_options, maps=False)
    if "in_roi" not in dataset:
        raise _no_rois(place, contents)
    return dataset.reset_coords("in_roi")


def open_noise_ceilings(
    subject: str,
    *,
    roi: RoiSelection | None = None,
    mask: str = "rsquare",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Read the subject-level noise ceilings and the mean R2.

    Parameters
    ----------
    subject, roi, mask, bucket, storage_options
        As in `open_betas`.

    Returns
    -------
    xarray.Dataset
        ``nc_12rep``, ``nc_4rep``, ``nc_all`` (percent) and ``r2_mean``, float32 along ``voxel``, with the coordinates
        of `open_betas` that follow from the grid and the ROIs.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; NotInBucketError also where none of the maps is there.
    """
    dataset, contents, place = _open_voxels(subject, roi, mask, bucket, storage_options, maps=True)
    present = [name for name in _MAP_ATTRS if name in dataset]
    if not any(name.startswith(_NC_PREFIX) for name in present):
        raise place.missing(_map_key(contents.subject, "nc_12rep"), contents.objects)
    return dataset.reset_coords(present)


def _open_voxels(
    subject: str,
    roi: RoiSelection | None,
    mask: str,
    bucket: str | os.PathLike[str] | Bucket | None,
    storage_options: Mapping[str, Any] | None,
    *,
    maps: bool,
) -> tuple[xr.Dataset, SubjectContents, Bucket]:
    """Assemble a Dataset of the voxel axis alone, everything being a coordinate."""
    import xarray as xr

    query = _VoxelQuery.of(roi, mask, None, "12rep")
    place = open_bucket(bucket, storage_options)
    contents = subject_contents(place, layout.subject_name(subject), anatomy=query.needs_anatomy)
    plan = _VoxelPlan.of(place, contents, query, maps=maps)
    axis, coordinates = plan.read(place, place.fetch(plan.files), query)
    dataset = xr.Dataset(
        coords={**coordinates, "subject": _subject_coordinate(contents.subject)},
        attrs=_attributes(axis.grid, query.mask, plan.files),
    )
    _warn_of_missing(plan.missing, stacklevel=4)
    return dataset, contents, place


@dataclass(frozen=True)
class SessionBlock:
    """The chosen trials of one session: what a worker needs in order to read them.

    Small, pickles, and has the same Dask token in every process as long as the object stays the same.
    """

    bucket: Bucket
    """Where to read from."""
    info: ObjectInfo
    """The betas' file; its size and ETag are pinned."""
    grid: Grid
    """The grid that the file must be on."""
    n_trials: int
    """Rows of the session's trial table: the number of volumes that the file must have."""
    volumes: tuple[int, ...]
    """The chosen volumes, ascending."""

    def read(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Stream the file once and return the chosen trials.

        Parameters
        ----------
        voxels : array of int64, shape (voxel,)
            C-order flat indices into the grid.

        Returns
        -------
        array of float32, shape (trial, voxel)

        Raises
        ------
        DataIntegrityError
            If the file is truncated, corrupt, replaced, on another grid, or has not as many volumes as trials.
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        if not len(voxels):
            return np.empty((len(self.volumes), 0), dtype=np.float32)
        name = self.bucket.locate(self.info.key)
        with self.bucket.stream(self.info) as file:
            reader = VolumeReader(file, name=name)
            _expect_grid(self.grid, reader, name)
            if reader.header.n_volumes != self.n_trials:
                raise DataIntegrityError(
                    f"{name}: expected {self.n_trials} volumes, one per row of its trial table, found "
                    f"{reader.header.n_volumes}. Fetch both files again; if it stays so, report it."
                )
            return reader.take(Gather.of(voxels, self.grid.shape), self.volumes)


def _lazy_betas(blocks: Sequence[SessionBlock], axis: VoxelAxis) -> da.Array:
    """Make the Dask array: one task per session, and the voxels once for all of them."""
    import dask.array as da
    from dask.base import tokenize

    array: da.Array
    read = [block for block in blocks if block.volumes]
    if not read:
        array = da.zeros((0, len(axis)), dtype=np.float32)
        return array
    name = f"betas-{tokenize(read, axis.index)}"
    voxels = f"voxels-{tokenize(axis.index)}"
    graph: dict[Any, Any] = {(name, number, 0): (_read_block, block, voxels) for number, block in enumerate(read)}
    graph[voxels] = axis.index
    chunks = (tuple(len(block.volumes) for block in read), (len(axis),))
    array = _uncopied_array()(graph, name, chunks, meta=np.empty((0, 0), dtype=np.float32))
    return array


@functools.cache
def _uncopied_array() -> type[da.Array]:
    """Make the class of the Dask array: a single session is handed over as it was read.

    Dask copies a result that is one chunk, lest somebody write into a buffer of the graph or of a worker. A session is
    read anew for each computation and nobody else holds it, while the copy doubles the time and the memory of the most
    common reading. (Only a worker in the caller's own process, to whom the same betas were persisted, would share
    them.) Whatever is computed from this array is a plain Dask array.
    """
    import dask.array as da

    class UncopiedArray(da.Array):
        __slots__ = ()

        def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[()]]:
            return _hand_over, ()

    return UncopiedArray


def _hand_over(results: Any) -> NDArray[np.float32]:
    """Join the sessions' blocks, the only one as it is."""
    from dask.array.core import concatenate3

    blocks = [row[0] for row in results]
    joined: NDArray[np.float32] = blocks[0] if len(blocks) == 1 else concatenate3(results)
    return joined


def _encoding(betas: da.Array) -> dict[str, Any]:
    """Let `to_zarr` write sessions of different lengths: its chunks are equal, and may not cross those of Dask."""
    lengths = betas.chunks[0]
    return {"chunks": (math.gcd(*lengths), betas.shape[1])} if len(set(lengths)) > 1 and betas.shape[1] else {}


def _read_block(block: SessionBlock, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read one session: the function of every task."""
    return block.read(voxels)


@dataclass(frozen=True)
class _TrialPlan:
    """What has to be read for the trial axis."""

    sessions: tuple[str, ...]
    """The chosen sessions, ascending."""
    betas: Mapping[str, ObjectInfo]
    """Their betas."""
    tables: Mapping[str, ObjectInfo]
    """Trial tables: of the chosen sessions, and of those before them where repetitions can be counted."""
    counts_repetitions: bool
    """Whether the table of every session from the first to the last chosen one is there."""
    missing: tuple[str, ...]
    """What is left out, in words."""

    @classmethod
    def of(cls, bucket: Bucket, contents: SubjectContents, sessions: tuple[str, ...] | None) -> _TrialPlan:
        if sessions is None:
            if not contents.sessions:
                raise bucket.missing(layout.key("betas", subject=contents.subject, session="ses-01"), contents.objects)
            sessions = contents.sessions
        for session in sessions:
            if layout.is_held_out(session):
                raise AccessDeniedError(
                    f"{session} of {contents.subject} is held out by the data set's authors: its betas are not public. "
                    f"Use one of {_span(contents.sessions)}, or ask {layout.CONTACT}."
                )
            if session not in contents.sessions and contents.find("trials", session=session) is None:
                raise unknown_value("session", session, contents.sessions, where=f"{contents.subject} in {bucket.url}")
        needed = {}
        for session in sessions:
            for kind in ("trials", "betas"):
                info = contents.find(kind, session=session)
                if info is None:
                    key = layout.key(kind, subject=contents.subject, session=session)
                    raise bucket.missing(key, contents.objects)
                needed[kind, session] = info
        betas = {session: needed["betas", session] for session in sessions}
        tables = {session: needed["trials", session] for session in sessions}
        earlier = [layout.session_name(number) for number in range(1, layout.session_number(sessions[-1]))]
        found = {session: contents.find("trials", session=session) for session in earlier}
        gaps = [session for session, info in found.items() if info is None]
        missing = []
        if gaps:
            missing.append(f"repetition (it is counted from the first session on; no trial table of {', '.join(gaps)})")
        else:
            tables = {session: info for session, info in found.items() if info is not None} | tables
        skipped = sorted(set(_sessions_with_tables(contents)) - set(contents.sessions))
        if skipped and sessions == contents.sessions:
            missing.append(f"the trials of {', '.join(skipped)} (a trial table, but no betas)")
        return cls(tuple(sessions), betas, tables, not gaps, tuple(missing))

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> pd.DataFrame:
        """Return the chosen sessions' rows, with everything that follows from labels and order."""
        tables = []
        for session in sorted(self.tables, key=layout.session_number):
            info = self.tables[session]
            parsed = layout.parse_key(info.key)
            participant = layout.PARTICIPANT_CODES.get(parsed.entities["subject"]) if parsed else None
            name = bucket.locate(info.key)
            table = read_trials(files[info.key], name=name, session=session, participant=participant)
            tables.append((layout.session_number(session), table))
        stacked = stack_sessions(tables)
        if not self.counts_repetitions:
            stacked = stacked.drop(columns="repetition")
        return stacked[stacked["session"].isin(self.sessions)]


def _sessions_with_tables(contents: SubjectContents) -> list[str]:
    parsed = map(layout.parse_key, contents.objects)
    names = [entry.entities["session"] for entry in parsed if entry and entry.kind == "trials"]
    return [name for name in names if not layout.is_held_out(name)]


@dataclass(frozen=True)
class _VoxelQuery:
    """A checked selection of voxels."""

    roi: RoiSelection | None
    mask: str
    min_noise_ceiling: float | None
    noise_ceiling: str

    @classmethod
    def of(
        cls, roi: RoiSelection | None, mask: str, min_noise_ceiling: float | None, noise_ceiling: str
    ) -> _VoxelQuery:
        check_argument("mask", mask)
        check_argument("noise_ceiling", noise_ceiling)
        return cls(check_selection(roi), mask, _check_percentage(min_noise_ceiling), noise_ceiling)

    @property
    def needs_anatomy(self) -> bool:
        return MASKS[self.mask].kind == "brain_mask"


@dataclass(frozen=True)
class _VoxelPlan:
    """What has to be read for the voxel axis."""

    contents: SubjectContents
    mask: ObjectInfo
    """The map that the mask's rule reads."""
    maps: Mapping[str, ObjectInfo]
    """Coordinate → its map."""
    missing: tuple[str, ...]
    """What is left out, in words."""

    @classmethod
    def of(cls, bucket: Bucket, contents: SubjectContents, query: _VoxelQuery, *, maps: bool = True) -> _VoxelPlan:
        kind = MASKS[query.mask].kind
        mask = contents.find(kind)
        if mask is None:
            raise bucket.missing(layout.key(kind, subject=contents.subject), contents.objects)
        if query.roi is not None and not contents.rois:
            raise _no_rois(bucket, contents)
        keys = {name: _map_key(contents.subject, name) for name in _MAP_ATTRS} if maps else {}
        found = {name: contents.objects[key] for name, key in keys.items() if key in contents.objects}
        needed = _NC_PREFIX + query.noise_ceiling
        if query.min_noise_ceiling is not None and needed not in found:
            raise bucket.missing(keys[needed], contents.objects)
        missing = [f"{name} ({bucket.locate(key)})" for name, key in keys.items() if name not in found]
        if not contents.rois:
            missing.append(f"in_roi ({bucket.locate(layout.roi_folder(contents.subject))})")
        return cls(contents, mask, found, tuple(missing))

    @property
    def files(self) -> tuple[ObjectInfo, ...]:
        """Every object to read, each once."""
        infos = [self.mask, *self.maps.values(), *(roi.info for roi in self.contents.rois)]
        return tuple({info.key: info for info in infos}.values())

    def read(self, bucket: Bucket, files: Mapping[str, bytes], query: _VoxelQuery) -> tuple[VoxelAxis, Coordinates]:
        """Return the chosen voxels and all their coordinates."""

        def reader(info: ObjectInfo) -> VolumeReader:
            return VolumeReader(io.BytesIO(files[info.key]), name=bucket.locate(info.key))

        mask = reader(self.mask)
        axis = VoxelAxis(mask.header.grid, mask.where(MASKS[query.mask]))
        gather = Gather.of(axis.index, axis.grid.shape)

        def values(info: ObjectInfo) -> NDArray[np.float32]:
            volume = reader(info)
            _expect_grid(axis.grid, volume, bucket.locate(info.key))
            if volume.header.n_volumes != 1:
                raise DataIntegrityError(
                    f"{bucket.locate(info.key)}: expected one volume, found {volume.header.n_volumes}."
                )
            row: NDArray[np.float32] = volume.take(gather, [0])[0]
            return row

        maps = {name: values(info) for name, info in self.maps.items()}
        chosen = np.ones(len(axis), dtype=bool)
        membership = None
        if self.contents.rois:
            inside = np.array([values(roi.info) > 0 for roi in self.contents.rois])
            names = tuple(roi.name for roi in self.contents.rois)
            membership = RoiMembership(names, tuple(roi.category for roi in self.contents.rois), inside)
            if query.roi is not None:
                chosen = membership.select(query.roi, where=f"{self.contents.subject} in {bucket.url}")
        if query.min_noise_ceiling is not None:
            # A voxel whose ceiling is NaN is not known to reach the threshold.
            chosen &= maps[_NC_PREFIX + query.noise_ceiling] >= query.min_noise_ceiling
        axis = axis.select(chosen)
        coordinates = axis.coordinates(layout.SPACE)
        for name, map_values in maps.items():
            coordinates[name] = ((VOXEL,), map_values[chosen], dict(_MAP_ATTRS[name]))
        if membership is not None:
            coordinates |= roi_coordinates(
                RoiMembership(membership.names, membership.categories, membership.inside[:, chosen])
            )
        return axis, coordinates


def _map_key(subject: str, coordinate: str) -> str:
    """Return the key of the map that holds a coordinate along ``voxel``."""
    if coordinate.startswith(_NC_PREFIX):
        name = layout.NOISE_CEILINGS[coordinate.removeprefix(_NC_PREFIX)]
        return layout.key("noise_ceiling", subject=subject, map=name)
    return layout.key(coordinate, subject=subject)


def _expect_grid(expected: Grid, reader: VolumeReader, name: str) -> None:
    difference = expected.difference(reader.header.grid)
    if difference:
        raise DataIntegrityError(
            f"{name}: {difference}, unlike the subject's mask. Fetch the files again; if it stays so, report it."
        )


def _no_rois(bucket: Bucket, contents: SubjectContents) -> NotInBucketError:
    folder = layout.roi_folder(contents.subject)
    return NotInBucketError(
        f"{bucket.locate(folder)} holds no ROI volume. If this is a partial copy, fetch that folder, or open the whole "
        "mask with roi=None."
    )


def _subject_coordinate(subject: str) -> tuple[tuple[()], NDArray[np.object_], dict[str, str]]:
    return ((), np.array(subject, dtype=object), {"long_name": "subject"})


def _attributes(grid: Grid, mask: str, sources: Iterable[ObjectInfo]) -> dict[str, Any]:
    from intake_laion_fmri import __version__

    described = [
        {"key": info.key, "size": info.size, "etag": info.etag} for info in sorted(sources, key=lambda info: info.key)
    ]
    return {
        "affine": list(grid.affine),
        "grid_shape": list(grid.shape),
        "space": layout.SPACE,
        "mask": mask,
        "mask_rule": MASKS[mask].rule,
        # A text, because netCDF's attributes hold no nested values.
        "sources": json.dumps(described),
        "license": layout.LICENSE,
        "references": layout.REFERENCES,
        "created_with": f"intake-laion-fmri {__version__}",
    }


def check_argument(name: str, value: object) -> object:
    """Check an argument of this module's functions as far as can be done without looking into the bucket.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        What was given for it.

    Returns
    -------
    object
        The value in its canonical form.

    Raises
    ------
    ValueError, TypeError
        If it cannot be right.
    """
    return _CHECKS[name](value)


def _check_sessions(session: object) -> tuple[str, ...] | None:
    """Return the chosen sessions, ascending and each once; None stands for all."""
    if isinstance(session, str) and session.strip() == ALL_SESSIONS:
        return None
    # NumPy's zero-dimensional arrays claim to be iterable.
    if isinstance(session, str | bytes) or not isinstance(session, Iterable) or getattr(session, "ndim", 1) == 0:
        return (layout.session_name(session),)
    names = {layout.session_name(one) for one in session}
    if not names:
        raise ValueError("session=[] names no session. Expected 'all', a session such as 'ses-01', or a list of them.")
    return tuple(sorted(names, key=layout.session_number))


def _check_option(name: str, value: object, *, valid: Iterable[str], optional: bool = False) -> object:
    names = list(valid)
    if not (isinstance(value, str) and value in names) and not (optional and value is None):
        raise unknown_value(name, value, names)
    return value


def _check_percentage(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"min_noise_ceiling must be a percentage from 0 to 100, found {value!r}.")
    percentage = float(value)
    if 0 < percentage < 1:
        raise ValueError(
            f"min_noise_ceiling={percentage} is taken for a fraction, but the maps are in percent. "
            f"Write {percentage * 100:g} for {percentage * 100:g} %."
        )
    if not 0 <= percentage <= 100:
        raise ValueError(f"min_noise_ceiling must be a percentage from 0 to 100, found {percentage:g}.")
    return percentage


def _span(sessions: Sequence[str]) -> str:
    return f"{sessions[0]} to {sessions[-1]}" if sessions else "none (the bucket has no public session of this subject)"


def _warn_of_missing(missing: Sequence[str], *, stacklevel: int = 3) -> None:
    if missing:
        warnings.warn(
            f"Left out, because the bucket has no file for it: {'; '.join(missing)}.",
            MissingFileWarning,
            stacklevel=stacklevel,
        )


_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "subject": layout.subject_name,
    "session": _check_sessions,
    "roi": check_selection,
    "mask": functools.partial(_check_option, "mask", valid=MASKS),
    "min_noise_ceiling": _check_percentage,
    "noise_ceiling": functools.partial(_check_option, "noise_ceiling", valid=layout.NOISE_CEILINGS),
    "stimuli": functools.partial(_check_option, "stimuli", valid=STIMULI, optional=True),
    "bucket": open_bucket,
    "storage_options": check_storage_options,
}
"""Argument → its check, for `check_argument`."""
