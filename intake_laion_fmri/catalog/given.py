"""Users' values on their way through Intake: never rendered, shown without secrets.

Intake renders strings in a catalog's entries as Jinja templates, without a sandbox, and saved strings are rendered
again when they are opened. Values are therefore wrapped in an envelope that Intake does not look into, and braces are
escaped in files.
"""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from intake_laion_fmri.errors import redact

_LOOKED_UP = re.compile(r"(?:env|data|import|func|pickle64)[(]")
"""Words that Intake's second generation resolves at the beginning of a string, with or without braces."""


@dataclass(frozen=True, repr=False, eq=False)
class Given:
    """An envelope that keeps Intake from rendering a value as a template."""

    value: Any

    def __repr__(self) -> str:
        # Intake parses and tokenises this text: it must identify the value, and must not be a template.
        return f"Given({redact.tree(self.value)!r})".replace("{", "(").replace("}", ")")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(repr(self))


def sealed(arguments: Mapping[str, Any]) -> dict[str, Given]:
    """Wrap each argument in an envelope."""
    return {name: value if isinstance(value, Given) else Given(value) for name, value in arguments.items()}


def opened(value: Any) -> Any:
    """Unwrap a value, or each value of a mapping."""
    if isinstance(value, Given):
        return opened(value.value)
    return {name: opened(part) for name, part in value.items()} if type(value) is dict else value


def simple(value: Any) -> Any:
    """Convert a value to strings, numbers, lists and mappings."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # a plain string also for subclasses
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
    """Return a simple value for printing and saving, without secrets.

    Strings are escaped so that Intake renders them to themselves.
    """
    return _escaped(simple(redact.tree(opened(value))))


class Veiled(str):
    """A string shown by Intake's readers instead of a value.

    Parameters
    ----------
    text : str
        The string to show: without secrets, and rendered by Intake to the value if there are none.
    value : object
        The actual value.
    """

    value: Any

    def __new__(cls, text: str, value: Any) -> Veiled:
        """Create the string, with the actual value."""
        veiled = super().__new__(cls, text)
        veiled.value = value
        return veiled

    def __reduce__(self) -> tuple[Any, ...]:
        return Veiled, (str.__str__(self), self.value)

    def format_map(self, mapping: Any) -> Veiled:
        """Return the string unchanged, although Intake wants to fill in braces."""
        return self


def veiled(name: str, value: Any) -> Any:
    """Replace secrets and Intake's look-ups in an argument with `Veiled` strings."""
    plain = simple(value)
    return _veiled(plain, simple(redact.tree({name: plain}))[name])


def unveiled(value: Any) -> Any:
    """Return the value behind `Veiled` or `Given`."""
    value = opened(value)
    if isinstance(value, Veiled):
        return value.value
    if isinstance(value, dict):
        return {name: unveiled(part) for name, part in value.items()}
    return [unveiled(part) for part in value] if isinstance(value, list) else value


def _veiled(value: Any, seen: Any) -> Any:
    if isinstance(value, dict) and isinstance(seen, dict):
        return {name: _veiled(part, shown) for (name, part), shown in zip(value.items(), seen.values(), strict=True)}
    if isinstance(value, list) and isinstance(seen, list):
        return [_veiled(part, shown) for part, shown in zip(value, seen, strict=True)]
    if not isinstance(seen, str):
        return value
    text = seen.replace("{", "{{").replace("}", "}}")
    if _LOOKED_UP.match(text):
        text = f"./{text}"  # only paths can begin with such a word
    return value if text == value else Veiled(text, value)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        text = re.sub(r"\{(?=[{%#])", "{{ '{' }}", value)
        return re.sub(r"\r|\n\Z", lambda match: f"{{{{ {match[0]!r} }}}}", text)  # Jinja changes line endings
    if isinstance(value, dict):
        return {name: _escaped(part) for name, part in value.items()}
    return [_escaped(part) for part in value] if isinstance(value, list) else value
