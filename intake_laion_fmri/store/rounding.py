"""Rounding before storing: none, shorter mantissas, or half precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Dtype = Literal["float32", "bitround", "float16"]
"""How betas are stored: as they are; float32 with rounded mantissas; half precision."""

DTYPES: tuple[Dtype, ...] = get_args(Dtype)


@dataclass(frozen=True)
class Rounding:
    """Change of values before storing."""

    dtype: str
    """One of `DTYPES`."""
    keep_bits: int | None = None
    """For ``bitround``: the bits of the mantissa that are kept, 1 to 23."""

    @property
    def item(self) -> str:
        """Type of the stored values, as NumPy spells it."""
        return "float16" if self.dtype == "float16" else "float32"

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of rounded betas; empty without rounding."""
        if self.dtype == "bitround":
            bits = self.keep_bits or 0
            return {
                "quantization": "BitRound",
                "quantization_nsb": bits,
                "quantization_maximum_relative_error": 2.0 ** -(bits + 1),
            }
        if self.dtype == "float16":
            return {
                "quantization": "half precision",
                "quantization_maximum_relative_error": 2.0**-11,
                "quantization_comment": "the relative error holds from 6.2e-5 on; smaller values are off by up to "
                "3e-8, which can be all of them",
            }
        return {}

    def apply(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Round values for storing; NaN and infinite values stay as they are.

        Raises
        ------
        OverflowError
            If a finite value would become infinite; names it.
        """
        if self.dtype == "float32":
            return values
        finite = np.isfinite(values)
        rounded: NDArray[Any]
        if self.dtype == "bitround":
            from numcodecs.bitround import BitRound

            bits = np.asarray(BitRound(self.keep_bits).encode(np.ascontiguousarray(values)))
            # Rounding the payload of a NaN can carry into its exponent and make it a number.
            rounded = np.where(finite, bits.view(np.float32).reshape(values.shape), values)
        else:
            with np.errstate(over="ignore"):
                rounded = values.astype(np.float16)
        lost = finite & ~np.isfinite(rounded)
        if lost.any():
            raise OverflowError(f"{values[lost][0]:g} is more than {self.dtype} can hold")
        return rounded
