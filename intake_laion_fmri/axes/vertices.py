"""The axes of a hemisphere: vertices, and entries of labels.

This module owns the names of the dimensions and variables of surfaces. They end in the hemisphere, ``_L`` or ``_R``,
because the hemispheres have different numbers of vertices. Labels are vertex lists of
different lengths, stored as CF contiguous ragged arrays: concatenated along one axis in the order of the ROIs, with a
count per ROI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.rois import ROI, RoiExpression, RoiMembership, RoiNames
from intake_laion_fmri.formats.freesurfer import VertexList
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.formats.masks import MASK_RULE

HEMI = "hemi"
"""Dimension and index of the hemispheres."""

Hemisphere = Literal["L", "R"]
"""A hemisphere as keys spell it."""

HEMISPHERES: Mapping[str, str] = {"L": "left hemisphere", "R": "right hemisphere"}
"""Hemisphere → its description."""

SURFACE_SPACE = "fsnative"
"""The subject's own FreeSurfer surface: vertices of different subjects are not the same."""


def named(name: str, hemi: str) -> str:
    """Return the name of a hemisphere's dimension or variable, such as ``vertex_L``."""
    return f"{name}_{hemi}"


def vertex_coordinate(hemi: str, vertices: NDArray[np.int64]) -> Coordinates:
    """Return the index of a hemisphere's vertices: their numbers, from 0."""
    name = named("vertex", hemi)
    return {name: ((name,), vertices, {"long_name": f"vertex of the {HEMISPHERES[hemi]}, from 0"})}


@dataclass(frozen=True, eq=False)
class Surface:
    """ROIs of one hemisphere, as read."""

    hemi: str
    """``L`` or ``R``."""
    masks: Mapping[str, NDArray[np.bool_]]
    """ROI → shape (vertex,), from its ``.func.gii``; all of one length."""
    labels: Mapping[str, VertexList]
    """ROI → the list in its ``.label``."""

    def mask_variables(
        self, rois: RoiNames, roi: RoiExpression | None, *, where: str
    ) -> tuple[Coordinates, Coordinates]:
        """Return the membership of vertices as variables.

        Parameters
        ----------
        rois : RoiNames
            ROIs along ``roi``; those without a mask have no vertex.
        roi : RoiExpression or None
            Expression for the vertices to keep; None for all.
        where : str
            Source of the ROIs, for errors.

        Returns
        -------
        variables, coordinates : dict
            ``in_roi_L`` (roi, vertex_L), bool; ``vertex_L``, int64, an index.
        """
        n_vertices = len(next(iter(self.masks.values())))
        none = np.zeros(n_vertices, dtype=bool)
        inside = np.array([self.masks.get(name, none) for name in rois.names])
        vertices = np.arange(n_vertices, dtype=np.int64)
        membership = RoiMembership(rois.names, rois.categories, inside)
        if roi is not None:
            chosen = membership.select(roi, where=where)
            membership, vertices = membership.keep(chosen), vertices[chosen]
        axis = named("vertex", self.hemi)
        long_name = f"whether the vertex of the {HEMISPHERES[self.hemi]} belongs to the ROI"
        return (
            {self._named("in_roi"): ((ROI, axis), membership.inside, {"long_name": long_name, "comment": MASK_RULE})},
            vertex_coordinate(self.hemi, vertices),
        )

    def label_variables(
        self, rois: RoiNames, roi: RoiExpression | None, *, where: str
    ) -> tuple[Coordinates, Coordinates]:
        """Return the labels' vertices as a contiguous ragged array.

        Parameters
        ----------
        rois, roi, where
            As in `mask_variables`. An entry is kept if its vertex is selected, in the list of any ROI.

        Returns
        -------
        variables, coordinates : dict
            ``label_vertex_L`` (entry_L), int64, ``label_value_L`` (entry_L), float32, and ``label_count_L`` (roi),
            int64: the number of entries of each ROI; ``label_roi_L`` (entry_L), names, and ``label_x_L``,
            ``label_y_L``, ``label_z_L`` (entry_L), float32, in mm.
        """
        empty = VertexList(np.empty(0, np.int64), np.empty((0, 3), np.float32), np.empty(0, np.float32))
        lists = [self.labels.get(name, empty) for name in rois.names]
        counts = np.array([len(entries.vertices) for entries in lists], dtype=np.int64)
        owners = np.repeat(np.arange(len(lists)), counts)
        vertices = np.concatenate([entries.vertices for entries in lists])
        xyz = np.concatenate([entries.xyz for entries in lists])
        values = np.concatenate([entries.values for entries in lists])
        if roi is not None:
            listed, position = np.unique(vertices, return_inverse=True)
            inside = np.zeros((len(lists), len(listed)), dtype=bool)
            inside[owners, position] = True
            kept = RoiMembership(rois.names, rois.categories, inside).select(roi, where=where)[position]
            owners, vertices, xyz, values = owners[kept], vertices[kept], xyz[kept], values[kept]
            counts = np.bincount(owners, minlength=len(lists)).astype(np.int64)
        axis = self._named("entry")
        side = HEMISPHERES[self.hemi]

        def along(name: str, array: NDArray[Any], long_name: str, units: str = "") -> Coordinates:
            attrs = {"long_name": long_name, **({"units": units} if units else {})}
            return {self._named(f"label_{name}"): ((axis,), array, attrs)}

        variables = along("vertex", vertices, f"vertex of the {side} that the ROI's label lists, from 0")
        variables |= along("value", values, "value that the label gives the vertex")
        variables[self._named("label_count")] = (
            (ROI,),
            counts,
            {"long_name": f"number of vertices that the ROI's label lists on the {side}", "sample_dimension": axis},
        )
        names = np.array(rois.names, dtype=object)[owners]
        coordinates = along("roi", names, "ROI whose label this is")
        for name, position in zip("xyz", xyz.T, strict=True):
            coordinates |= along(name, position.copy(), f"{name} of the vertex, in the label's space", "mm")
        return variables, coordinates

    def _named(self, name: str) -> str:
        return named(name, self.hemi)
