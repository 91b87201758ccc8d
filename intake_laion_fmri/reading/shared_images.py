"""Betas of several subjects on shared images, as a DataTree."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.voxels import Mask, NoiseCeiling
from intake_laion_fmri.errors import Remarks, check_option, in_short, unknown_value
from intake_laion_fmri.reading.arguments import (
    ALL,
    Chunks,
    SessionSelection,
    ZScore,
    check_argument,
    check_flag,
    check_subjects,
)
from intake_laion_fmri.reading.assembly import BetasParts, attributes
from intake_laion_fmri.reading.betas import BetasQuery
from intake_laion_fmri.reading.contents import no_subjects
from intake_laion_fmri.reading.contents import subjects as subjects_in
from intake_laion_fmri.reading.origins import with_origin
from intake_laion_fmri.reading.plans.trials import TrialQuery
from intake_laion_fmri.reading.plans.voxels import VoxelQuery
from intake_laion_fmri.remote.access import Bucket, open_bucket, open_store
from intake_laion_fmri.running.forks import concurrently
from intake_laion_fmri.splits import Role, SplitName
from intake_laion_fmri.splits.sources import find_source

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Result = TypeVar("Result")

COMPLETE = "complete"
"""Coordinate along ``image``: whether each subject saw the image as often as planned, in the chosen trials."""


def open_shared(
    subjects: str | Sequence[str],
    *,
    average: bool = True,
    n: int | None = None,
    exactly: bool = False,
    session: SessionSelection = ALL,
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    min_noise_ceiling: float | None = None,
    noise_ceiling: NoiseCeiling = "12rep",
    stimuli: Literal["shared", "ood"] = "shared",
    split: SplitName | None = None,
    pool: Literal["shared", "pooled"] = "shared",
    role: Role = "both",
    splits: str | os.PathLike[str] | None = None,
    zscore: ZScore | None = None,
    localizers: str | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    store: str | os.PathLike[str] | Bucket | Mapping[str, str | os.PathLike[str] | Bucket] | None = None,
    store_options: Mapping[str, Any] | None = None,
    fallback: bool = False,
    chunks: Chunks = "session",
) -> xr.DataTree:
    """Open betas of several subjects on the images that all saw.

    Parameters
    ----------
    subjects : str or sequence of str
        ``"all"`` for every subject of the bucket, or subjects, such as ``["sub-01", "sub-03"]``. Each is opened once,
        and the nodes are sorted by name.
    average : bool, default True
        Whether to average the trials of each image. Otherwise its first `n` trials stand side by side.
    n : int, optional
        Take the first `n` trials of each image that all subjects saw at least `n` times. By default all trials of the
        images that all subjects saw; required with ``average=False``.
    exactly : bool, default False
        With `n`: whether to leave out images that any subject saw more often than `n` times. Without: whether to leave
        out images that any subject saw less often than planned (12 or 4 times), so that all are ``complete``.
    session, roi, mask, min_noise_ceiling, noise_ceiling, splits, zscore, localizers
        As in `open_betas`, for each subject. Trials that `session` leaves out do not count.
    stimuli : {"shared", "ood"}, default "shared"
        All shared images, which include the out-of-distribution images, or only the latter.
    split, role
        As in `open_betas`.
    pool : {"shared", "pooled"}, default "shared"
        As in `open_betas`. Splits of a subject's own pool differ between subjects.
    bucket, storage_options, mirror, mirror_only, store_options, fallback, chunks
        As in `open_betas`.
    store : str or path, or mapping of subject to these, optional
        A store with all subjects, or one store per subject. With `fallback` the mapping may lack subjects.

    Returns
    -------
    xarray.DataTree
        A node for each subject, ``tree["sub-01"]``, with ``betas`` (image, voxel) in float32, or with
        ``average=False`` (image, repetition, voxel). The index ``image`` holds the labels, the same in all nodes.
        Coordinates are those of `open_betas` along ``voxel``, and those of ``ds.laion.average()``, or
        ``ds.laion.repetitions(n)``, along ``image``, and

        - ``complete`` (image): whether each subject saw the image as often as planned, among the chosen trials:
          ``tree.isel(image=tree["sub-01"].complete)`` selects in all nodes;
        - ``n_averaged`` (image), or ``trial`` (image, repetition), of this subject.

        Lazy: betas of the chosen trials are read when they are computed. ``tree.laion.concat()`` joins the voxels of
        all subjects.

    Raises
    ------
    ValueError
        As in `open_betas`; if a subject has no shared image among the chosen trials, or there is no image that all
        subjects saw (so often).
    NotInBucketError, NotInStoreError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`. The message names the subject.

    Warns
    -----
    MissingFileWarning, UnexpectedContentWarning, OtherSplitsWarning, OfflineWarning
        As in `open_betas`, once for all subjects.

    Notes ----- Subjects are opened concurrently; from a server, five take little longer than one. Computing reads each
    session with a chosen trial once, in a few tasks per session. With ``average=False`` all chosen trials of a block of
    voxels are in memory together: 4 bytes x images x `n` x voxels.

    Of the 1,492 shared images, 881 were planned 12 times and 611 4 times; each subject saw some of them once less. The
    data set's authors advise leaving these out when comparing subjects: ``exactly=True``, or ``n=12, exactly=True`` for
    the 881 only.

    Each voxel and each subject has its own units; ``zscore="session"`` makes them comparable.

    Examples
    --------
    >>> tree = open_shared(["sub-01", "sub-03"], roi="V1", zscore="session", bucket="demo-bucket")  # doctest: +SKIP
    >>> both = tree.laion.concat().laion.load()  # image x voxel, with subject(voxel)  # doctest: +SKIP
    """
    _check_images(average, n, exactly, stimuli, pool)
    query = BetasQuery(
        TrialQuery.from_arguments(session, stimuli, split, pool, role),
        VoxelQuery.from_arguments(roi, mask, min_noise_ceiling, noise_ceiling),
        *(splits, zscore, localizers, None, fallback, chunks),
    )
    check_argument("store_options", store_options)
    names = check_subjects(subjects)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    names = names or tuple(subjects_in(bucket))
    if not names:
        raise no_subjects(bucket)
    stores = _stores(store, store_options, names, may_lack=fallback)
    # Shared by all subjects, so that its requests and warnings occur once.
    source = find_source(splits, bucket=bucket) if None in stores.values() else None
    read = _each(names, lambda name: query.read(bucket, name, stores[name], source))
    images = _chosen_images({name: parts.table for name, parts in read.items()}, n, exactly)
    taken = {name: parts.take(_rows(parts.table, images, n)) for name, parts in read.items()}
    opened = _each(names, lambda name: query.dataset(bucket, taken[name], {}))
    opened = {name: with_origin(dataset, bucket) for name, dataset in opened.items()}
    _remarks(read).warn(stacklevel=2)
    return _tree(opened, images, average=average, n=n)


def _check_images(average: object, n: object, exactly: object, stimuli: object, pool: object) -> None:
    """Raise ValueError or TypeError unless the arguments define trials of images."""
    for name, value in (("average", average), ("exactly", exactly)):
        check_flag(name, value)
    if n is not None and (isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < 1):
        raise ValueError(f"n={n!r}: expected a positive number of trials per image, such as 12 or 4, or None.")
    if n is None and not average:
        raise ValueError(
            "average=False places the trials of an image side by side: give their number with n=, such as n=4 (shared "
            "images were shown 12 or 4 times), or leave average=True."
        )
    if stimuli == "unique":
        raise ValueError(
            "stimuli='unique': each of these images was seen by a single subject, so none is shared. Open them with "
            "open_betas, or choose 'shared' or 'ood'."
        )
    check_option("stimuli", stimuli, valid=("shared", "ood"))
    if pool == "subject":
        raise ValueError(
            "pool='subject': each subject has its own partition, so an image could be in the training set of one and "
            "the test set of another. Choose pool='shared' or pool='pooled'."
        )


def _stores(
    given: Any, options: Mapping[str, Any] | None, names: Sequence[str], *, may_lack: bool
) -> dict[str, Bucket | None]:
    """Return each subject's store; ValueError for a missing or unknown subject."""
    if given is None or not isinstance(given, Mapping):
        root = None if given is None else open_store(given, options)
        return dict.fromkeys(names, root)
    of_each = {layout.subject_name(name): open_store(root, options) for name, root in given.items()}
    for name in of_each:
        if name not in names:
            raise unknown_value("subject", name, names, where="subjects=, in store=")
    lacking = [name for name in names if name not in of_each]
    if lacking and not may_lack:
        raise ValueError(
            f"store= has no store for {', '.join(lacking)}. Name one for each subject, or add fallback=True to stream "
            "them from the bucket."
        )
    return {name: of_each.get(name) for name in names}


def _each(names: Sequence[str], function: Callable[[str], Result]) -> dict[str, Result]:
    """Call a function with each subject, concurrently; errors name the subject."""

    def named(name: str) -> Result:
        try:
            return function(name)
        except (OSError, ValueError) as error:
            if name not in str(error):
                error.args = (f"{name}: {error}", *error.args[1:])
            raise

    # Whoever interrupts it need not wait for a server.
    return dict(zip(names, concurrently(named, names, len(names), name="subjects", wait=False), strict=True))


def _chosen_images(tables: Mapping[str, pd.DataFrame], n: int | None, exactly: bool) -> pd.Series[bool]:
    """Return whether each chosen image is complete, sorted by label.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Subject → its chosen trials.
    n, exactly
        As in `open_shared`.

    Raises
    ------
    ValueError
        If no image is left.
    """
    import pandas as pd

    without = [name for name, table in tables.items() if not len(table)]
    if without:
        raise ValueError(
            f"{', '.join(without)}: none of the chosen trials shows a shared image. Choose other sessions or another "
            "split, or exclude the subject."
        )
    counts = pd.DataFrame({name: table["label"].value_counts() for name, table in tables.items()}).fillna(0).astype(int)
    planned = pd.concat(list(tables.values())).groupby("label")["n_repeats"].first()[counts.index]
    is_complete = counts.ge(planned, axis=0)
    wanted = is_complete if n is None else counts == n
    chosen = (wanted if exactly else counts >= (n or 1)).all(axis=1)
    if not chosen.any():
        numbers = {name: sorted(set(counts[name]) - {0}, reverse=True) for name in counts}
        each = "; ".join(f"{name} {in_short(list(map(str, found)))}" for name, found in numbers.items())
        how = (
            f"{'exactly' if exactly else 'at least'} {n} times" if n else "as often as planned" if exactly else "at all"
        )
        raise ValueError(
            f"No image was seen by all of {', '.join(tables)} {how}. Trials per image: {each}. Choose "
            f"{'a smaller n=, ' if n else ''}more sessions or fewer subjects."
        )
    return is_complete.all(axis=1)[chosen].sort_index()


def _rows(table: pd.DataFrame, images: pd.Series[bool], n: int | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return flags of the chosen trials: each image's first `n`."""
    taken = table["label"].isin(images.index).to_numpy()
    return taken if n is None else taken & (table.groupby("label").cumcount().to_numpy() < n)


def _remarks(read: Mapping[str, BetasParts]) -> Remarks:
    """Merge the subjects' remarks, prefixed by names if they differ."""

    def merged(kind: str) -> tuple[str, ...]:
        subjects: dict[str, list[str]] = {}
        for name, parts in read.items():
            for text in getattr(parts.remarks, kind):
                subjects.setdefault(text, []).append(name)
        return tuple(
            text if len(names) == len(read) or all(name in text for name in names) else f"{', '.join(names)}: {text}"
            for text, names in subjects.items()
        )

    return Remarks(merged("left_out"), merged("noted"))


def _tree(opened: Mapping[str, xr.Dataset], images: pd.Series[bool], *, average: bool, n: int | None) -> xr.DataTree:
    """Build the tree: betas averaged by image, or with `n` repetitions."""
    import xarray as xr

    who = ", ".join(opened)
    about = {"long_name": "whether each subject saw the image as often as planned", "subjects": who}
    nodes: dict[str, xr.Dataset] = {}
    for name, dataset in opened.items():
        dataset = dataset.assign_attrs(history=f"open_shared: {len(images):,} images that {who} saw")
        along = dataset.laion.average() if average else dataset.laion.repetitions(n)
        flags = images[along[IMAGE].values].to_numpy(dtype=bool)
        nodes[name] = along.assign_coords({COMPLETE: (IMAGE, flags, about)})
    attrs = attributes(f"shared images of {who}", (), None, None)
    del attrs["sources"]  # each node has its own
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **nodes})
