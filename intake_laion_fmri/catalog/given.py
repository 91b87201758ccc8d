"""Users' values on their way through Intake: never rendered, shown without secrets.

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

from intake_laion_fmri.errors import redact

_LOOKED_UP = re.compile(r"(?:env|data|import|func|pickle64)[(]")
"""Words that the second generation of Intake looks up where they begin a text, with braces or without."""


@dataclass(frozen=True, repr=False, eq=False)
class Given:
    """An envelope that keeps Intake from rendering a value as a template."""

    value: Any

    def __repr__(self) -> str:
        # Intake parses this text, and makes tokens of it: it must identify the value, and be no template.
        return f"Given({redact.tree(self.value)!r})".replace("{", "(").replace("}", ")")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(repr(self))


def sealed(arguments: Mapping[str, Any]) -> dict[str, Given]:
    """Put each argument into an envelope."""
    return {name: value if isinstance(value, Given) else Given(value) for name, value in arguments.items()}


def opened(value: Any) -> Any:
    """Take a value, or each value of a mapping, out of its envelope."""
    if isinstance(value, Given):
        return opened(value.value)
    return {name: opened(part) for name, part in value.items()} if type(value) is dict else value


def simple(value: Any) -> Any:
    """Convert a value to texts, numbers, lists and mappings for a catalog file."""
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
    """Return a value for printing and saving: simple, without secrets.

    Intake opens it to the same texts.
    """
    return _escaped(simple(redact.tree(opened(value))))


class Veiled(str):
    """A text that is shown in place of a value.

    Intake's second generation keeps values as they are.

    Parameters
    ----------
    text : str
        What is shown: without secrets, and what Intake makes the value of where there are none.
    value : object
        What is meant.
    """

    value: Any

    def __new__(cls, text: str, value: Any) -> Veiled:
        """Create the text, with the value behind it."""
        veiled = super().__new__(cls, text)
        veiled.value = value
        return veiled

    def __reduce__(self) -> tuple[Any, ...]:
        return Veiled, (str.__str__(self), self.value)

    def format_map(self, mapping: Any) -> Veiled:
        """Return the text unchanged; Intake would fill in braces."""
        return self


def veiled(name: str, value: Any) -> Any:
    """Replace secrets and Intake's look-ups in an argument by `Veiled` texts."""
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
        text = f"./{text}"  # nothing but a path may begin so
    return value if text == value else Veiled(text, value)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        text = re.sub(r"\{(?=[{%#])", "{{ '{' }}", value)
        return re.sub(r"\r|\n\Z", lambda match: f"{{{{ {match[0]!r} }}}}", text)  # Jinja would change these
    if isinstance(value, dict):
        return {name: _escaped(part) for name, part in value.items()}
    return [_escaped(part) for part in value] if isinstance(value, list) else value
