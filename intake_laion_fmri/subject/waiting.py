"""Names of the data set's own package whose sources are not here yet: each says so, and what to use until then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from intake_laion_fmri.errors import NotYetError

__all__ = ["WAITING", "Waiting", "not_yet"]

WAITING: Mapping[str, str] = MappingProxyType(
    {
        "to_torch_dataset": "give the array of get_betas to torch.utils.data.TensorDataset",
    }
)
"""Name → what to use until it is here."""


def not_yet(name: str, instead: str) -> NotYetError:
    """Describe a name whose source is not here yet, and what to do until then."""
    return NotYetError(f"{name} is not here yet: its source comes later. Until then {instead}.")


def _method(name: str) -> Callable[..., NoReturn]:
    def call(self: Waiting, *arguments: Any, **options: Any) -> NoReturn:
        raise not_yet(f"Subject.{name}", WAITING[name])

    call.__name__, call.__doc__ = name, f"Raise NotYetError: {WAITING[name]}."
    return call


class Waiting:
    """The names of `WAITING`: methods that raise when they are called."""

    to_torch_dataset = _method("to_torch_dataset")
