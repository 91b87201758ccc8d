"""Table of data sources: a row per catalog entry and opener.

The drivers and readers for both generations of Intake, the catalog's entries and their help are generated from these
rows. Arguments and their help are those of the opener.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["SOURCES", "Source", "argument_help"]

PACKAGE = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class Source:
    """A source: a catalog entry, a driver, a reader and an opener."""

    name: str
    """Name of the catalog's entry, such as ``"noise_ceilings"``."""
    opener: str
    """The function, as ``"module:function"`` below this package."""
    container: Literal["xarray", "dataframe"]
    """Type of the result: a Dataset, or a pandas DataFrame."""
    groups: tuple[str, ...]
    """Groups of files that it reads; see `layout.GROUPS`."""
    description: str
    """One line, with ``{who}`` for the subject."""
    of_subject: bool = True
    """Whether it needs a subject; other sources have no entry in the subjects' catalogs."""
    structure: tuple[str, ...] = ()
    """Structures in terms of Intake's second generation, besides ``"array"`` or ``"table"``."""
    is_recommended: bool = False
    """Whether Intake recommends its reader for the bucket's URL."""

    @property
    def stem(self) -> str:
        """Stem of its class names: ``"NoiseCeilings"``."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def driver(self) -> str:
        """Name of its driver in `drivers` (Intake's first generation)."""
        return f"{self.stem}Source"

    @property
    def data(self) -> str:
        """Name of its data type in `readers` (Intake's second generation)."""
        return f"{self.stem}Data"

    @property
    def reader(self) -> str:
        """Name of its reader in `readers` (Intake's second generation)."""
        return f"{self.stem}Reader"

    @property
    def path(self) -> str:
        """Path of the opener, ``"package.module:function"``."""
        return f"{PACKAGE}.{self.opener}"

    @property
    def output(self) -> str:
        """Type of its reader's result in Intake's second generation."""
        return {"xarray": "xarray:Dataset", "dataframe": "pandas:DataFrame"}[self.container]

    def described(self, who: str = "one subject") -> str:
        """Return the description for a subject."""
        return self.description.format(who=who)

    def load(self) -> Callable[..., Any]:
        """Import and return the function."""
        function: Callable[..., Any] = _imported(*self.path.split(":"))
        return function


_ROWS = (
    Source(
        "betas",
        "betas:open_betas",
        "xarray",
        ("betas", "trials", "noise_ceilings", "r2", "rois", "anatomy", "splits"),
        "Single-trial GLMsingle betas of {who}, trial x voxel: a lazy, labelled xarray Dataset.",
        structure=("timeseries",),
        is_recommended=True,
    ),
    Source(
        "trials",
        "betas:open_trials",
        "dataframe",
        ("trials", "splits"),
        "The trial table of {who}, a pandas DataFrame: stimulus, session, run, repetition.",
    ),
    Source(
        "rois",
        "betas:open_rois",
        "xarray",
        ("rois", "r2", "anatomy"),
        "Regions of interest of {who}, as flags of voxels or vertices: an xarray Dataset.",
    ),
    Source(
        "noise_ceilings",
        "betas:open_noise_ceilings",
        "xarray",
        ("noise_ceilings", "r2", "rois", "anatomy"),
        "Noise ceilings (percent) and mean R2 of the voxels of {who}: an xarray Dataset.",
    ),
    Source(
        "maps",
        "betas:open_maps",
        "xarray",
        ("noise_ceilings", "r2", "hrf", "ridge", "rois", "anatomy"),
        "Voxel maps of {who}: noise ceilings, R2, HRF index, ridge fraction: an xarray Dataset.",
    ),
    Source(
        "localizers",
        "reading.functional.localizers:open_localizers",
        "xarray",
        ("localizers", "rois", "r2", "anatomy"),
        "Localizers of {who}, contrast x voxel or vertex: a lazy xarray Dataset.",
    ),
    Source(
        "events",
        "reading.functional.events:open_events",
        "dataframe",
        ("events", "trials"),
        "Events of {who}, a pandas DataFrame: images, onsets, responses and reaction times.",
    ),
    Source(
        "bold",
        "reading.functional.bold:open_bold",
        "xarray",
        ("tedana", "raw", "rois", "r2", "anatomy"),
        "Time series of {who}, time x voxel, preprocessed or raw: a lazy, labelled xarray Dataset.",
        structure=("timeseries",),
    ),
    Source(
        "participants",
        "reading.functional.participants:open_participants",
        "dataframe",
        ("participants",),
        "The table of participants, a pandas DataFrame.",
        of_subject=False,
    ),
    Source(
        "stimulus_table",
        "reading.stimuli.table:open_stimulus_table",
        "dataframe",
        ("stimulus_table",),
        "The table of all images, a pandas DataFrame: data set, subject, repetitions, row in the image file.",
        of_subject=False,
    ),
    Source(
        "stimuli",
        "reading.stimuli.images:open_stimuli",
        "xarray",
        ("stimuli", "stimulus_table"),
        "The images as displayed, (image, y, x, channel): a lazy, labelled xarray Dataset.",
        of_subject=False,
    ),
    Source(
        "anatomy",
        "reading.anatomy:open_anatomy",
        "xarray",
        ("anatomy", "freesurfer"),
        "Anatomical images of {who} (T1w, T2w, brain mask, FreeSurfer's volumes): a lazy xarray Dataset.",
    ),
    Source(
        "surfaces",
        "reading.surfaces:open_surfaces",
        "xarray",
        ("freesurfer",),
        "Cortical surfaces of {who} (vertices, triangles, sulcal depth, regions): an xarray Dataset.",
    ),
    Source(
        "embeddings",
        "reading.stimuli.embeddings:open_embeddings",
        "xarray",
        ("embeddings", "stimulus_table"),
        "Embeddings of the images by a model, (image, feature): a lazy, labelled xarray Dataset.",
        of_subject=False,
    ),
    Source(
        "captions",
        "reading.stimuli.captions:open_captions",
        "dataframe",
        ("captions", "stimulus_table"),
        "Captions of the images, by people and a model: a pandas DataFrame.",
        of_subject=False,
    ),
    Source(
        "segmentations",
        "reading.stimuli.segmentations:open_segmentations",
        "xarray",
        ("segmentations", "stimulus_table"),
        "Masks of objects in the shared images, (mask, y, x): a lazy, labelled xarray Dataset.",
        of_subject=False,
    ),
    Source(
        "inventory",
        "discovery:inventory",
        "dataframe",
        (),
        "All readable objects of the bucket, with key, size and access: a pandas DataFrame.",
        of_subject=False,
    ),
)
SOURCES: Mapping[str, Source] = MappingProxyType({row.name: row for row in _ROWS})
"""From the name of a catalog's entry to its source."""


@functools.cache
def argument_help(function: Callable[..., Any]) -> Mapping[str, str]:
    """Return a line of help per argument, from a docstring.

    Parameters
    ----------
    function : callable
        With a numpydoc section ``Parameters``. "As in `other`." refers to the docstring of another function. With
        ``python -OO``, the docstring is read from the source file.

    Returns
    -------
    mapping
        From argument to its listed values, if any, and the first sentence; empty for undocumented arguments.
    """
    entries = {name: (kind, text) for names, kind, text in _parameters(_docstring(function)) for name in names}
    return MappingProxyType(
        {name: _line(function, name, *entries.get(name, ("", ""))) for name in inspect.signature(function).parameters}
    )


def _line(function: Callable[..., Any], name: str, kind: str, text: str) -> str:
    other = re.match(r"As in `([\w.]+)`", text)
    if other:
        module, _, attribute = other[1].rpartition(".")
        beside = getattr(inspect.unwrap(function), "__globals__", {})
        found = beside[attribute] if attribute in beside else _imported(module or PACKAGE, attribute)
        return argument_help(found)[name]
    words = re.match(r"\{(.+)\}", kind)
    first = re.split(r"(?<=\.)\s+(?=[A-Z`])", text, maxsplit=1)[0]
    line = f"{words[1]}: {first}" if words else first
    return " ".join(re.sub(r"[`\"*]", "", line).rstrip(".:").split())


def _parameters(docstring: str) -> Iterator[tuple[list[str], str, str]]:
    """Parse names, type and text from the section ``Parameters``."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", docstring, re.DOTALL | re.MULTILINE)
    entries = re.split(r"^(?=\S)", section[1], flags=re.MULTILINE) if section else []
    for entry in filter(str.strip, entries):
        head, _, text = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        yield [name.strip("* ") for name in names.split(",")], kind, " ".join(text.split())


def _docstring(function: Callable[..., Any]) -> str:
    text = inspect.getdoc(function)
    if text is None:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        text = ast.get_docstring(definition) if isinstance(definition, ast.FunctionDef) else None
    return text or ""


def _imported(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
