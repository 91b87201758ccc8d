"""Values that users give, on their way through Intake: never rendered, and shown without their secrets.

To Intake a text is a program: it renders whatever comes through a catalog's entry as a template of Jinja, without a
sandbox, and what it saves is rendered when it is opened again. So values travel in an envelope that Intake does not
look into, and braces are escaped in what is written.
"""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from intake_laion_fmri import redact

__all__ = ["Given", "opened", "sealed", "shown", "simple"]


@dataclass(frozen=True, repr=False, eq=False)
class Given:
    """An envelope: neither text, list nor mapping, so that Intake takes it for a value and renders nothing."""

    value: Any

    def __repr__(self) -> str:
        # Intake parses this text, and makes tokens of it: the value is to be told apart, and no template.
        return f"Given({redact.tree(self.value)!r})".replace("{", "(").replace("}", ")")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(repr(self))


def sealed(arguments: Mapping[str, Any]) -> dict[str, Given]:
    """Return each argument in an envelope."""
    return {name: value if isinstance(value, Given) else Given(value) for name, value in arguments.items()}


def opened(value: Any) -> Any:
    """Return a value out of its envelope; of arguments in a mapping, each."""
    if isinstance(value, Given):
        return opened(value.value)
    return {name: opened(part) for name, part in value.items()} if type(value) is dict else value


def simple(value: Any) -> Any:
    """Return a value as a catalog file can hold it: texts, numbers, lists and mappings."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # also of a subclass
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {simple(name): simple(part) for name, part in value.items()}
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [simple(part) for part in value]
    return value


def shown(value: Any) -> Any:
    """Return a value as it is printed and saved: simple, without secrets, and opening in Intake to the same texts."""
    return _escaped(simple(redact.tree(opened(value))))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        text = re.sub(r"\{(?=[{%#])", "{{ '{' }}", value)
        return re.sub(r"\r|\n\Z", lambda match: f"{{{{ {match[0]!r} }}}}", text)  # Jinja would change these
    if isinstance(value, dict):
        return {name: _escaped(part) for name, part in value.items()}
    return [_escaped(part) for part in value] if isinstance(value, list) else value
