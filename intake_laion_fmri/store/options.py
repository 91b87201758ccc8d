"""Options of a store."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from intake_laion_fmri.axes.rois import RoiSelection, check_selection
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.store.chunks import ChunkGrid
from intake_laion_fmri.store.codecs import Codec
from intake_laion_fmri.store.rounding import DTYPES, Rounding

_KEEP_BITS = 10
"""Of a float32's 23, where nothing else is said: relative errors up to 4.9e-4."""


@dataclass(frozen=True)
class StoreOptions:
    """Options shared by all sessions of a store."""

    roi: RoiSelection | None = None
    """The voxels to keep; None for the whole mask."""
    mask: str = "rsquare"
    """One of `voxels.MASKS`."""
    dtype: str = "float32"
    """One of `rounding.DTYPES`."""
    keep_bits: int | None = None
    """For ``bitround``: bits of the mantissa."""
    codec: str = "none"
    """One of `codecs.CODECS`."""
    chunk_voxels: int = 128
    """Voxels per chunk."""
    shard_voxels: int | None = 4096
    """Voxels per object; None for an object per chunk."""

    @classmethod
    def from_arguments(cls, given: Mapping[str, Any], stored: StoreOptions | None = None) -> StoreOptions:
        """Check a user's options.

        Missing options, and None, take the value of `stored`, the options of an existing store, else the default.
        Raises ValueError or TypeError for an invalid value, or one that differs from the store's.
        """
        named = {name: value for name, value in given.items() if value is not None}
        checked = {name: _CHECKS[name](value) for name, value in named.items()}
        dtype = checked.get("dtype", stored.dtype if stored else cls.dtype)
        if dtype == "bitround" and stored is None:
            checked.setdefault("keep_bits", _KEEP_BITS)
        elif dtype != "bitround" and "keep_bits" in checked:
            raise ValueError(f"keep_bits={checked['keep_bits']} requires dtype='bitround', found {dtype!r}.")
        if stored is not None:
            different = [name for name, value in checked.items() if value != getattr(stored, name)]
            if different:
                has = ", ".join(f"{name}={getattr(stored, name)!r}" for name in different)
                asked = ", ".join(f"{name}={checked[name]!r}" for name in different)
                raise ValueError(
                    f"The store was built with {has}, found {asked}. All its sessions share the same options: omit "
                    "them to add to this store, build another store, or remove this one first."
                )
            return stored
        options = cls(**checked)
        shard = options.shard_voxels
        if shard is not None and shard % options.chunk_voxels:
            raise ValueError(
                f"shard_voxels={shard} is not a multiple of chunk_voxels={options.chunk_voxels}: expected a multiple, "
                f"such as {max(1, round(shard / options.chunk_voxels)) * options.chunk_voxels}, or 0 for an object "
                "per chunk."
            )
        return options

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StoreOptions:
        """Parse the options of `to_json`."""
        roi = content["roi"]
        return cls(**{**content, "roi": tuple(roi) if isinstance(roi, list) else roi})

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON-compatible values."""
        return asdict(self)

    @property
    def rounding(self) -> Rounding:
        """Rounding of values before storing."""
        return Rounding(self.dtype, self.keep_bits)

    def grid(self, n_trials: int, n_voxels: int) -> ChunkGrid:
        """Return the chunk grid of an array of betas."""
        return ChunkGrid.from_options(
            n_trials,
            n_voxels,
            item=self.rounding.item,
            width=self.chunk_voxels,
            shard_width=self.shard_voxels,
            codec=self.codec,
        )

    def __str__(self) -> str:
        """List the options that differ from the defaults."""
        changed = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ", ".join(changed) or "the default options"


def _whole(name: str, least: int, most: int) -> Any:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
            raise ValueError(f"{name} must be an integer from {least} to {most}, found {value!r}.")
        return int(value)

    return check


_CHECKS = {
    "roi": check_selection,
    "mask": functools.partial(check_option, "mask", valid=get_args(Mask)),
    "dtype": functools.partial(check_option, "dtype", valid=DTYPES),
    "keep_bits": _whole("keep_bits", 1, 23),
    "codec": functools.partial(check_option, "codec", valid=get_args(Codec)),
    "chunk_voxels": _whole("chunk_voxels", 1, 2**20),
    "shard_voxels": lambda value: _whole("shard_voxels", 0, 2**24)(value) or None,
}
