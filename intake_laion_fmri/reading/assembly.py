"""Parts of a betas Dataset and their assembly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.trials import TRIAL, trial_coordinates
from intake_laion_fmri.axes.voxels import MASKS, VOXEL
from intake_laion_fmri.errors import BucketUnreachableError, Remarks
from intake_laion_fmri.formats.grid import GRID, Coordinates, Grid
from intake_laion_fmri.reading.blocks import SessionBlock, Step
from intake_laion_fmri.reading.contents import Fetched, SubjectContents
from intake_laion_fmri.reading.lazy_arrays import lazy_columns, lazy_rows
from intake_laion_fmri.reading.plans.trials import TrialPlan, TrialQuery
from intake_laion_fmri.reading.plans.voxels import Brain, VoxelPlan, VoxelQuery
from intake_laion_fmri.reading.roi_files import UNREADABLE
from intake_laion_fmri.reading.roles import split_roles
from intake_laion_fmri.remote.access import Bucket, ObjectInfo
from intake_laion_fmri.splits.sources import SplitSource

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    import xarray as xr

_PUBLISHED: Mapping[str, str] = {"project": "LAION-fMRI", "publisher_url": layout.BUCKET_URL}
"""Attributes of every Dataset. Notebooks fold ten attributes or more, and `sources` can be long."""

_WITHOUT_GRID: Mapping[str, str] = {
    "publisher_region": layout.REGION,
    "contact": layout.CONTACT,
    "keywords": "fMRI, vision, natural images",
}
"""More attributes for a Dataset without a grid, to make them ten as well."""

_BETAS_ATTRS = {"long_name": "single-trial GLMsingle TYPED betas", "units": "relative units"}


@dataclass(frozen=True, eq=False)
class BetasParts:
    """Parts of a betas Dataset."""

    subject: str
    """``"sub-01"``."""
    table: pd.DataFrame
    """The chosen trials, from `trials.stack_sessions`."""
    brain: Brain
    """The chosen voxels."""
    roles: Coordinates
    """``split_role`` of the trials, with its dimensions; empty where it is left out."""
    steps: Mapping[str, Step]
    """Session → reading step of its betas, ascending."""
    sources: tuple[ObjectInfo, ...]
    """The objects behind these parts."""
    mask: str
    """Name of the mask."""
    remarks: Remarks
    """Remarks on files that were left out, or differ from the documentation."""
    betas_attrs: Mapping[str, Any] = field(default_factory=dict)
    """Further attributes of the betas."""
    slabs: tuple[Step, ...] = ()
    """Reading steps of voxel blocks over all sessions; empty if each session is a block."""

    def take(self, chosen: NDArray[np.bool_]) -> BetasParts:
        """Restrict the parts to the trials flagged in `chosen`, shape (trial,)."""
        table, roles = self.table[chosen], roles_of(self.roles, chosen)
        volumes = volumes_of(table)
        steps = {name: step.of(volumes.get(name, ())) for name, step in self.steps.items()}
        return replace(self, table=table, roles=roles, steps=steps)

    def dataset(self, coordinates: Coordinates, attrs: Mapping[str, Any]) -> xr.Dataset:
        """Return the Dataset that `open_betas` describes, with further coordinates and attributes."""
        if self.slabs:
            betas = lazy_columns("betas", self.slabs, n_rows=len(self.table))
        else:
            betas = lazy_rows("betas", list(self.steps.values()), shape=(len(self.brain.axis),))
        coordinates = {**self.brain.axis.grid.coordinate(layout.SPACE), **coordinates}
        return self._assembled(betas, coordinates, {**self._attrs(), **attrs}, grid_mapping=GRID)

    def stored(self, betas: da.Array) -> xr.Dataset:
        """Return the Dataset as stored, without constant or derived values."""
        return self._assembled(
            betas, {}, {name: value for name, value in self._attrs().items() if name not in _PUBLISHED}
        )

    def _attrs(self) -> dict[str, Any]:
        return attributes(f"single-trial betas of {self.subject}", self.sources, self.brain.axis.grid, self.mask)

    def _assembled(
        self, betas: da.Array, coordinates: Coordinates, attrs: Mapping[str, Any], **betas_attrs: str
    ) -> xr.Dataset:
        """Build the Dataset in one call; xarray copies all variables per addition."""
        import xarray as xr

        from intake_laion_fmri.reading.session_chunks import SessionVariable

        return xr.Dataset(
            {"betas": SessionVariable((TRIAL, VOXEL), betas, {**_BETAS_ATTRS, **self.betas_attrs, **betas_attrs})},
            coords={**self.coordinates(), **coordinates},
            attrs=attrs,
        )

    def coordinates(self) -> Coordinates:
        """Return all coordinates that a store keeps."""
        return {
            **trial_coordinates(self.table),
            **self.brain.coordinates(),
            **self.roles,
            "subject": subject_coordinate(self.subject),
        }


@dataclass(frozen=True)
class BucketPlan:
    """Objects of a bucket that a betas Dataset needs."""

    bucket: Bucket
    """The bucket."""
    subject: str
    """``"sub-01"``."""
    trials: TrialPlan
    """Plan of the trials."""
    voxels: VoxelPlan
    """Plan of the voxels."""

    @classmethod
    def from_listing(
        cls, bucket: Bucket, contents: SubjectContents, trial_query: TrialQuery, voxel_query: VoxelQuery
    ) -> BucketPlan:
        """Find the objects; NotInBucketError if one is absent."""
        return cls(
            bucket,
            contents.subject,
            TrialPlan.from_listing(bucket, contents, trial_query),
            VoxelPlan.from_listing(bucket, contents, voxel_query),
        )

    @property
    def inputs(self) -> tuple[ObjectInfo, ...]:
        """`sources` and the tables from which repetitions are counted."""
        return (*self.sources, *self.trials.tables.values())

    @property
    def sources(self) -> tuple[ObjectInfo, ...]:
        """Objects in the attribute ``sources``."""
        sessions = self.trials.sessions
        of_sessions = (infos[name] for infos in (self.trials.betas, self.trials.tables) for name in sessions)
        return (*of_sessions, *self.voxels.files)

    def fetch(self) -> Fetched:
        """Fetch the small files."""
        return Fetched(self.bucket, [*self.trials.files, *self.voxels.files])

    def read(
        self, files: Mapping[str, bytes], query: TrialQuery, source: SplitSource | None, zscore: str | None = None
    ) -> BetasParts:
        """Read the parts of the Dataset, with roles if `source` is given."""
        table, remarks = self.trials.read(self.bucket, files)
        lengths = table.groupby("session").size()
        groups = scaling_groups(table, zscore)
        roles, unfetched = split_coordinates(table, self.subject, source) if source else ({}, [])
        table, roles = choose_trials(table, roles, query, self.subject, source)
        brain = self.voxels.read(self.bucket, files)
        steps, volumes = {}, volumes_of(table)
        for session, info in self.trials.betas.items():
            chosen, length = volumes.get(session, ()), int(lengths[session])
            block = SessionBlock(self.bucket, info, brain.axis.grid, length, chosen, groups.get(session))
            steps[session] = Step(SessionBlock.read, block, brain.axis.index)
        return BetasParts(
            self.subject,
            table,
            brain,
            roles,
            steps,
            self.sources,
            self.voxels.query.mask,
            remarks + brain.remarks + Remarks(tuple(unfetched)),
            scaling_attrs(zscore),
        )


def attributes(title: str, sources: Iterable[ObjectInfo], grid: Grid | None, mask: str | None) -> dict[str, Any]:
    """Return a Dataset's attributes, with its grid and mask, if any."""
    from intake_laion_fmri import __version__
    from intake_laion_fmri.accessor import register

    register()
    by_key = {info.key: info for info in sources}
    described = [
        {"key": key, "size": info.size, "etag": info.etag} | ({"origin": info.origin} if info.origin else {})
        for key, info in sorted(by_key.items())
    ]
    attrs: dict[str, Any] = {"title": f"LAION-fMRI, {title}"}
    if grid is not None:
        attrs |= {"affine": list(grid.affine), "grid_shape": list(grid.shape), "space": layout.SPACE}
        if mask is not None:
            attrs |= {"mask": mask, "mask_rule": MASKS[mask].rule}
    return attrs | {
        # JSON, because netCDF attributes cannot be nested.
        "sources": json.dumps(described),
        "license": layout.LICENSE,
        "references": layout.REFERENCES,
        "created_with": f"intake-laion-fmri {__version__}",
        **_PUBLISHED,
        **(_WITHOUT_GRID if grid is None else {}),
    }


def split_coordinates(table: pd.DataFrame, subject: str, source: SplitSource) -> tuple[Coordinates, list[str]]:
    """Return the roles of trials, or the reasons for their absence."""
    try:
        return split_roles(table, subject, source), []
    except (BucketUnreachableError, *UNREADABLE) as error:
        return {}, [f"split_role ({error})"]


def choose_trials(
    table: pd.DataFrame, roles: Coordinates, query: TrialQuery, subject: str, source: SplitSource | None
) -> tuple[pd.DataFrame, Coordinates]:
    """Return the chosen rows of a trial table, with their roles."""
    chosen = query.select(table, subject, source, roles)
    return table[chosen], roles_of(roles, chosen)


def roles_of(roles: Coordinates, chosen: NDArray[np.bool_]) -> Coordinates:
    """Return the roles of trials, shape (trial,)."""
    if not roles:
        return roles
    dims, values, attrs = roles["split_role"]
    return {**roles, "split_role": (dims, values[..., chosen], attrs)}


def subject_coordinate(subject: str) -> tuple[tuple[()], NDArray[np.object_], dict[str, str]]:
    """Return the scalar coordinate ``subject``."""
    return ((), np.array(subject, dtype=object), {"long_name": "subject"})


def scaling_groups(table: pd.DataFrame, zscore: str | None) -> dict[str, tuple[int, ...]]:
    """Map each session to the scaling groups of its trials.

    Parameters
    ----------
    table : pandas.DataFrame
        All trials of the sessions.
    zscore : {"session", "run"}, optional
        The groups.

    Returns
    -------
    dict of str to tuple of int
        Empty if `zscore` is None.
    """
    if zscore is None:
        return {}
    runs = table["run"] if zscore == "run" else table["run"] * 0
    return {str(name): tuple(map(int, found)) for name, found in runs.groupby(table["session"], sort=False)}


def scaling_attrs(zscore: str | None) -> dict[str, str]:
    """Return the attributes that scaled betas add or replace."""
    return {} if zscore is None else {"units": "SD", "scaled_within": zscore}


def volumes_of(table: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    """Map each session to its volumes in a table, without empty sessions."""
    volumes = table["beta_index"].groupby(table["session"], sort=False)
    return {str(name): tuple(found.tolist()) for name, found in volumes}
