"""Building one session: read from the bucket, write, read back, publish."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.building.plan import Job, session_plan, session_status, whole_session
from intake_laion_fmri.building.processes import block_memory
from intake_laion_fmri.building.report import SessionReport
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.reading.assembly import BetasParts, BucketPlan
from intake_laion_fmri.reading.blocks import SessionBlock
from intake_laion_fmri.reading.contents import betas_contents
from intake_laion_fmri.reading.plans.voxels import Brain, VoxelQuery
from intake_laion_fmri.running.forks import concurrently
from intake_laion_fmri.splits.sources import find_source
from intake_laion_fmri.store.chunks import ChunkGrid, ChunkTable
from intake_laion_fmri.store.format import BETAS, STORED_DTYPES, Record, coordinate_key, is_object
from intake_laion_fmri.store.groups import METADATA, GroupWriter
from intake_laion_fmri.store.left_out import LeftOut
from intake_laion_fmri.store.metadata import group_metadata, object_sum, sum_of_inputs
from intake_laion_fmri.store.order import stored_order
from intake_laion_fmri.store.rounding import Rounding
from intake_laion_fmri.store.writing import store_writer

if TYPE_CHECKING:
    import xarray as xr


def build_session(job: Job, received: Callable[[int], None] | None = None) -> SessionReport:
    """Build a session unless another builder has finished it."""
    start = time.monotonic()
    query = VoxelQuery.from_arguments(job.options.roi, job.options.mask)
    contents = betas_contents(job.bucket, job.subject, anatomy=query.needs_anatomy)
    plan = session_plan(job.bucket, contents, job.session, job.options)

    def look() -> None:
        if received:
            received(0)  # raises where the build has ended

    store = store_writer(job.root)
    with store.writing(job.group, wait=job.wait, while_waiting=look) as writer:
        status = session_status(job.root, plan, job.session, job.options)
        if status == "complete":  # another builder has done it meanwhile
            return SessionReport(job.subject, job.session, status)
        writer.begin(is_object)
        source = find_source(job.splits, bucket=job.bucket)
        files = plan.fetch()
        parts = plan.read(files, whole_session(job.session), source)
        kept, left_out = kept_voxels(parts, query, where=f"{job.subject} in {job.bucket.url}")
        block = parts.steps[job.session].block
        assert isinstance(block, SessionBlock), "parts from a bucket are streams"
        values = block.read(kept.axis.index, received, block_memory((len(block), len(kept.axis))))
        grid = job.options.grid(*values.shape)
        parts = replace(parts, brain=kept, betas_attrs=job.options.rounding.attrs)
        objects, group = _coordinates(parts, grid)
        if status == "renewed":
            writer.withdraw()
        concurrently(lambda key: _put(writer, key, [objects[key]]), objects, store.small_at_a_time, name="store")
        table = _put_betas(writer, grid, job.options.rounding, values, threads=store.large_at_a_time)
        tables = _tables(plan, files) if "repetition" in group.arrays else {}
        inputs = sum_of_inputs(plan.inputs)
        sums = {key: object_sum(content) for key, content in objects.items()}
        sizes = {key: len(content) for key, content in objects.items()}
        record = Record(job.group, job.options, inputs, group.axis, sums, table, left_out, tables, sizes)
        writer.publish(group_metadata({**group.attributes, **record.attribute()}, group.arrays))
    seconds, size, missing = time.monotonic() - start, sum(table.sizes), parts.remarks.left_out
    return SessionReport(job.subject, job.session, status, block.info.size, size, seconds, missing)


def kept_voxels(parts: BetasParts, query: VoxelQuery, *, where: str) -> tuple[Brain, LeftOut]:
    """Return the voxels to keep, in stored order, and a summary of the rest."""
    brain = parts.brain
    positions = brain.chosen(query, where=where)
    if not len(positions):
        roi = query.roi.selection if query.roi else None
        raise ValueError(f"roi={roi!r} has no voxel within the mask of {where}: there is nothing to store.")
    others = brain.take(np.setdiff1d(np.arange(len(brain.axis)), positions, assume_unique=True))
    ceilings = {name: values for name, values in others.maps.items() if name.startswith("nc_")}
    left_out = LeftOut.from_voxels(len(others.axis), others.rois.inside if others.rois else None, ceilings)
    kept = brain.take(positions)
    return kept.take(stored_order(kept.axis.ijk(), kept.rois.inside if kept.rois else None)), left_out


def _tables(plan: BucketPlan, files: Mapping[str, bytes]) -> dict[str, str]:
    """Return checksums of the trial tables behind the repetitions.

    Half of each checksum is kept, because there are many tables.
    """
    return {session: object_sum(files[info.key])[:32] for session, info in sorted(plan.trials.tables.items())}


@dataclass(frozen=True)
class _Group:
    """Metadata of a session's group, without the record."""

    attributes: Mapping[str, Any]
    arrays: Mapping[str, Any]
    axis: str


def _coordinates(parts: BetasParts, grid: ChunkGrid) -> tuple[dict[str, bytes], _Group]:
    """Return a session's coordinate objects as xarray writes them, and its metadata."""
    import dask.array as da

    shape = (grid.n_trials, grid.n_voxels)
    dataset = parts.stored(da.zeros(shape, chunks=shape, dtype=grid.item))
    narrower = {name: dtype for name, dtype in STORED_DTYPES.items() if name in dataset.coords}
    dataset = dataset.assign_coords({name: dataset[name].variable.astype(dtype) for name, dtype in narrower.items()})
    objects = _as_zarr(dataset, {BETAS: grid.encoding()})
    own = json.loads(objects.pop(METADATA))
    arrays = {str(name): json.loads(objects[f"{name}/{METADATA}"]) for name in sorted(map(str, dataset.variables))}
    return objects, _Group(own["attributes"], arrays, axis_sum(own["attributes"], arrays, objects))


def axis_sum(attributes: Mapping[str, Any], arrays: Mapping[str, Any], objects: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of a session's voxel and ROI coordinates and grid."""
    axis = hashlib.sha256(json.dumps([attributes[name] for name in ("affine", "grid_shape", "mask")]).encode())
    for name, metadata in sorted(arrays.items()):
        if not {"trial", "pool", "split"} & set(metadata.get("dimension_names", ())):
            axis.update(json.dumps(metadata, sort_keys=True).encode() + objects[coordinate_key(name, metadata)])
    return axis.hexdigest()


def _as_zarr(dataset: xr.Dataset, encoding: dict[str, Any]) -> dict[str, bytes]:
    """Write a Dataset with xarray and return its objects by key.

    Values of lazy variables are not written.
    """
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    packing = (ZstdCodec(level=1), Crc32cCodec())
    whole: dict[Any, Any] = {
        name: {"chunks": array.shape, "compressors": packing} for name, array in dataset.coords.items()
    }
    memory: dict[str, Any] = {}
    dataset.to_zarr(
        MemoryStore(memory),
        mode="w",
        zarr_format=3,
        consolidated=False,
        compute=False,
        encoding={**whole, **encoding},
        write_empty_chunks=True,
    )
    return {key: buffer.to_bytes() for key, buffer in sorted(memory.items())}


def _put_betas(
    writer: GroupWriter, grid: ChunkGrid, rounding: Rounding, values: NDArray[np.float32], *, threads: int
) -> ChunkTable:
    """Write the betas object by object."""

    def put(number: int) -> ChunkTable:
        try:
            stored = rounding.apply(values[:, grid.voxels_of(number)])
        except OverflowError as error:
            raise ValueError(f"{error}: choose dtype='float32'.") from error
        content, table = grid.pack(stored)
        _put(writer, f"{BETAS}/{grid.key(number)}", content)
        return table

    tables = concurrently(put, range(grid.n_objects), threads, name="store")
    sums = (crc32 for table in tables for crc32 in table.sums)
    return ChunkTable(tuple(sums), tuple(size for table in tables for size in table.sizes))


def _put(writer: GroupWriter, key: str, content: Sequence[bytes]) -> None:
    """Write an object and verify it by reading it back."""
    writer.put(key, content)
    if not writer.holds(key, content):
        raise DataIntegrityError(
            f"{key}: the data read back differ from those written. Check the store's disk or server, and build again."
        )
