"""Time series of a subject's runs as one Dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.timepoints import ECHO, TIME, time_coordinates
from intake_laion_fmri.axes.voxels import VOXEL, Mask, VoxelAxis
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError, Remarks, check_option, unknown_value
from intake_laion_fmri.formats.grid import GRID, Coordinates
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.formats.nifti import MAX_VOXELS
from intake_laion_fmri.formats.nifti_header import VolumeHeader
from intake_laion_fmri.reading.arguments import SessionSelection, check_argument
from intake_laion_fmri.reading.assembly import attributes, subject_coordinate
from intake_laion_fmri.reading.blocks import SessionBlock, Step
from intake_laion_fmri.reading.contents import Fetched, subject_contents
from intake_laion_fmri.reading.functional.raw_files import RunFile, RunFiles
from intake_laion_fmri.reading.functional.sidecars import read_sidecars, sidecar_attribute
from intake_laion_fmri.reading.lazy_arrays import lazy_rows
from intake_laion_fmri.reading.origins import with_origin
from intake_laion_fmri.reading.plans.voxels import VoxelPlan, VoxelQuery
from intake_laion_fmri.reading.volumes import open_beginning
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

BoldSource = Literal["tedana", "raw"]
"""Preprocessed time series, or the echoes as they were recorded."""

Part = Literal["mag", "phase"]
"""Magnitudes or phases of raw echoes."""

_NATIVE = "native"
"""Space of raw volumes: the scanner's."""


def open_bold(
    subject: str,
    session: SessionSelection = "ses-01",
    *,
    run: int | Sequence[int] | None = None,
    source: BoldSource = "tedana",
    echo: int | None = None,
    part: Part = "mag",
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open the time series of runs as a lazy, labelled Dataset.

    Parameters
    ----------
    subject, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    session : str, int or sequence of these, default "ses-01"
        As in `open_betas`; runs of several sessions come one after the other.
    run : int, sequence of int, or None, default None
        Runs of each session. None takes all.
    source : {"tedana", "raw"}, default "tedana"
        Preprocessed: one series per run with combined echoes, on the betas' voxels, one volume per second. Raw: the
        single echoes on the scanner's grid, one volume per 1.9 s.
    echo : int, optional
        Number of an echo of raw series, from 1. By default all, along ``echo``.
    part : {"mag", "phase"}, default "mag"
        Magnitudes or phases of raw series.
    roi : str, sequence of str, or None, default None
        As in `open_betas`. Not for raw series, which are not in the space of the ROIs.
    mask : {"rsquare", "anatomical", "rsquare_or_nan"}, default "rsquare"
        As in `open_betas`. Raw series have all voxels of their grid.
    sidecars : bool, default False
        Whether to read the JSON files beside the files, into the attribute ``sidecars``: JSON, key → content.

    Returns
    -------
    xarray.Dataset
        ``bold`` (time, voxel), float32, a Dask array of one chunk per run; for raw series without `echo`
        (echo, time, voxel). Coordinates along ``time``: ``time`` (index: seconds from the beginning of the run),
        ``session``, ``run`` and ``volume`` (from 0); ``repetition_time`` (s), a scalar. Along ``voxel`` those of
        `open_maps`; for raw series those that follow from the grid.

    Raises
    ------
    ValueError
        For an unknown subject, session, run or echo; for `roi` with raw series, and `echo` with preprocessed ones; for
        runs of different grids or repetition times.
    AccessDeniedError
        For a held-out session.
    NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`.

    Warns
    -----
    MissingFileWarning, UnexpectedContentWarning
        As in `open_betas`.

    Notes
    -----
    Opening takes a listing per session, the first 32 KiB of each file, for its header, and for mask and ROIs the
    requests of `open_maps`. A run is one task, which streams its file once and holds the chosen voxels: 310 volumes of
    272,080 voxels are 340 MB.
    """
    import xarray as xr

    check_option("source", source, valid=("tedana", "raw"))
    check_option("part", part, valid=("mag", "phase"))
    check_argument("sidecars", sidecars)
    _check_combination(source, echo, part, roi)
    voxel_query = VoxelQuery.from_arguments(roi, mask)
    subject = layout.subject_name(subject)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    tree, kind = (layout.TEDANA, "bold") if source == "tedana" else (layout.RAW, "raw_bold")
    runs = RunFiles.from_bucket(bucket, subject, tree, kind, session=session, run=run, task="images")
    echoes = _by_echo(runs, source, echo, part, bucket)
    headers = {file.info.key: open_beginning(bucket, file.info).header for files in echoes.values() for file in files}
    tr = _repetition_time(bucket, runs, headers)
    if source == "tedana":
        axis, coordinates, used, remarks = _of_betas(bucket, subject, voxel_query)
    else:
        axis, coordinates, used, remarks = _of_scanner(bucket, headers)
    rows = _series(bucket, echoes, headers, axis)
    first = next(iter(echoes.values()))
    coordinates |= time_coordinates([(file.session, file.run, headers[file.info.key].n_volumes) for file in first], tr)
    if source == "raw":
        numbers = np.array(list(echoes), dtype=np.int64)
        coordinates[ECHO] = ((ECHO,), numbers, {"long_name": "echo"}) if rows.ndim == 3 else ((), numbers[0], {})
    infos = [file.info for files in echoes.values() for file in files]
    extras, faults = sidecar_attribute(bucket, runs.objects, infos, wanted=sidecars)
    (remarks + faults).warn(stacklevel=2)
    attrs = {"long_name": "BOLD signal", "units": "arbitrary", "grid_mapping": GRID, "source": source}
    attrs |= {"part": part} if source == "raw" else {}
    described = attributes(
        f"time series of {subject}", [*infos, *used], axis.grid, mask if source == "tedana" else None
    )
    described |= {**extras, "space": layout.SPACE if source == "tedana" else _NATIVE}
    dims = (ECHO, TIME, VOXEL) if rows.ndim == 3 else (TIME, VOXEL)
    coordinates["subject"] = subject_coordinate(subject)
    return with_origin(xr.Dataset({"bold": (dims, rows, attrs)}, coords=coordinates, attrs=described), bucket)


def _check_combination(source: str, echo: int | None, part: str, roi: RoiSelection | None) -> None:
    if echo is not None and (isinstance(echo, bool) or not isinstance(echo, int) or echo < 1):
        raise ValueError(f"echo={echo!r} is not an echo. Expected a positive integer, or None for all.")
    if source == "tedana" and (echo is not None or part != "mag"):
        raise ValueError(
            f"echo={echo!r}, part={part!r}: the echoes of preprocessed series are combined. Add source='raw', or omit "
            "both."
        )
    if source == "raw" and roi is not None:
        raise ValueError(
            f"roi={roi!r} is on the betas' grid, but raw series are on the scanner's own grid: omit roi=, or choose "
            "source='tedana'."
        )


def _by_echo(runs: RunFiles, source: str, echo: int | None, part: str, bucket: Bucket) -> dict[int, list[RunFile]]:
    """Return each chosen echo's files by run; echo 0 is preprocessed."""
    if source == "tedana":
        return {0: list(runs.files)}
    of_part = [file for file in runs.files if file.entities["part"] == part and file.entities["echo"].isdecimal()]
    known = sorted({int(file.entities["echo"]) for file in of_part})
    if echo is not None and echo not in known:
        raise unknown_value(
            "echo", str(echo), [str(number) for number in known], where=f"{runs.subject} in {bucket.url}"
        )
    echoes = {
        number: [file for file in of_part if int(file.entities["echo"]) == number]
        for number in (known if echo is None else [echo])
    }
    wanted = {(file.session, file.run) for file in of_part}
    for number, files in echoes.items():
        gaps = sorted(wanted - {(file.session, file.run) for file in files})
        if gaps:
            folder = layout.RAW.folder(runs.subject)
            session, run = gaps[0]
            raise NotInBucketError(
                f"{bucket.locate(folder)} has no echo {number} ({part}) of run {run} of {session}. Choose other runs "
                "or echoes, or fetch the file."
            )
    if not echoes:
        raise NotInBucketError(
            f"{bucket.locate(layout.RAW.folder(runs.subject))} has no part {part!r} of these runs. Choose the other "
            "part or other runs, or fetch the files."
        )
    return echoes


def _repetition_time(bucket: Bucket, runs: RunFiles, headers: Mapping[str, VolumeHeader]) -> float:
    """Return the seconds between volumes, from headers or sidecars."""
    found = {key: header.step for key, header in headers.items()}
    without_step = [file.info for file in runs.files if found.get(file.info.key) == 0]
    if without_step:
        contents, _ = read_sidecars(bucket, runs.objects, without_step)
        found |= {key: float(content.get("RepetitionTime", 0)) for key, content in contents.items()}
    values = sorted(set(found.values()))
    name = bucket.locate(next(iter(found)))
    if values[0] <= 0:
        raise DataIntegrityError(
            f"{name}: neither its header nor its sidecar has the repetition time. Fetch both again; if it persists, "
            "report it."
        )
    if len(values) > 1:
        raise ValueError(
            f"The runs have different repetition times, {' and '.join(f'{seconds:g}' for seconds in values)} s: choose "
            "runs with the same time with run=."
        )
    return values[0]


def _of_betas(
    bucket: Bucket, subject: str, query: VoxelQuery
) -> tuple[VoxelAxis, Coordinates, tuple[ObjectInfo, ...], Remarks]:
    """Return the voxels of the betas."""
    contents = subject_contents(bucket, subject, anatomy=query.needs_anatomy)
    plan = VoxelPlan.from_listing(bucket, contents, query, maps=())
    brain = plan.read(bucket, Fetched(bucket, plan.files))
    return brain.axis, brain.coordinates() | brain.axis.grid.coordinate(layout.SPACE), plan.files, brain.remarks


def _of_scanner(
    bucket: Bucket, headers: Mapping[str, VolumeHeader]
) -> tuple[VoxelAxis, Coordinates, tuple[ObjectInfo, ...], Remarks]:
    """Return all voxels of the files' grid."""
    first, *others = headers
    grid = headers[first].grid
    if grid.size > MAX_VOXELS:
        raise Broken(bucket.locate(first))(f"expected a grid of at most {MAX_VOXELS} voxels, found {grid.shape}")
    for key in others:
        difference = grid.difference(headers[key].grid)
        if difference:
            raise ValueError(
                f"{bucket.locate(key)}: {difference}, unlike {bucket.locate(first)}. Choose runs on one grid with run=."
            )
    axis = VoxelAxis(grid, np.arange(grid.size, dtype=np.int64))
    return axis, axis.coordinates(_NATIVE) | grid.coordinate(_NATIVE), (), Remarks()


def _series(
    bucket: Bucket, echoes: Mapping[int, Sequence[RunFile]], headers: Mapping[str, VolumeHeader], axis: VoxelAxis
) -> da.Array:
    """Return series (time, voxel), or (echo, time, voxel), one task per run."""
    import dask.array as da

    stacked = []
    for files in echoes.values():
        steps = []
        for file in files:
            n_volumes = headers[file.info.key].n_volumes
            block = SessionBlock(bucket, file.info, axis.grid, n_volumes, tuple(range(n_volumes)))
            steps.append(Step(SessionBlock.read, block, axis.index))
        stacked.append(lazy_rows("bold", steps, shape=(len(axis),)))
    lengths = {tuple(rows.chunks[0]) for rows in stacked}
    if len(lengths) > 1:
        raise ValueError("The echoes have different numbers of volumes: choose one with echo=.")
    if 0 in echoes or len(stacked) == 1:
        return stacked[0]
    series: da.Array = da.stack(stacked)
    return series
