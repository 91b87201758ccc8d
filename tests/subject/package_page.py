"""Writes docs/coming-from-laion-fmri.md from the table in `package_rows.py`: `python tests/subject/package_page.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from package_functions import FUNCTIONS
from package_rows import COMMANDS, ERRORS, SUBJECT, TOP, Array, Call, Name

__all__ = ["DOCUMENT", "page"]

DOCUMENT = Path(__file__).parents[2] / "docs/coming-from-laion-fmri.md"

HEAD = """# Coming from laion_fmri

A script that was written for the data set's own package, `laion_fmri`, runs with its import replaced:

```python
import intake_laion_fmri as laion_fmri               # instead of: import laion_fmri
from intake_laion_fmri.subject import load_subject   # instead of: from laion_fmri.subject import load_subject
```

The names, arguments and answers are those of September 2026. The arrays are the same, in the same order. What is new:

- Nothing has to be downloaded. Data are read from the bucket, from a folder that `laion_fmri` or `download` has filled,
  or both.
- A session takes the memory of what is chosen of it, and not 12 GB. An ROI takes one pass over the file.
- A folder that was named with `dataset_initialize` works without a network.

Each call below is made by the tests on a synthetic bucket, those of `Subject` from a folder, from an S3 server, from a
mirror without a network, and with a store. The last column has the way to the same numbers with labels, as a lazy
xarray Dataset (`ds` is what `open_betas` returns). This page is written by `python tests/subject/package_page.py`.
"""

_PLACES = (("Subject.", SUBJECT), ("", FUNCTIONS))

DIMS = {"anatomical": "voxel", "rsquare": "voxel", "face": "voxel", "voxel of its own": "voxel", "": "…"}


def page() -> str:
    """Return the text of the page."""
    classes = ((f"`{name}`", f"`{kind.__name__}`", when) for name, (kind, when) in ERRORS.items())
    tops = ", ".join(f"`{name}`" for name in sorted({*TOP, *ERRORS}))
    return "\n".join(
        [
            HEAD,
            "## Subject\n",
            "After `sub = load_subject('sub-01')`, with `FACE` a list of four ROIs; the trial `SHARED` shows the "
            "shared image `LABEL`, and the trial `UNIQUE` one of the subject's own:\n",
            _calls(SUBJECT),
            "## Other modules\n",
            _calls(FUNCTIONS),
            "## Errors\n",
            "Clauses such as `except laion_fmri.DataNotDownloadedError` catch what is raised here.\n",
            _table(("error", "is also", "raised where"), classes),
            "## Names at the top\n",
            f"{tops}.\n",
            "## Command line\n",
            f"Words of `laion-fmri`, and of `intake-laion-fmri`: {', '.join(f'`{word}`' for word in COMMANDS)}.\n",
            "## Different on purpose\n",
            _differences(),
        ]
    )


def _calls(names: Mapping[str, Name]) -> str:
    rows = [
        (f"`{call.text}`", _answer(call), f"`{name.labelled}`" if name.labelled and not number else "")
        for name in names.values()
        for number, call in enumerate(name.calls)
    ]
    return _table(("call, there and here", "answer", "with labels"), rows)


def _differences() -> str:
    everything = ((f"{place}{name}", row) for place, names in _PLACES for name, row in names.items())
    return _grouped("what, and why", ((name, row.different) for name, row in everything if row.different))


def _grouped(head: str, texts: Iterable[tuple[str, str]]) -> str:
    """Return a table with a row for each text, and the names that share it."""
    names: dict[str, list[str]] = {}
    for name, text in texts:
        names.setdefault(text, []).append(f"`{name}`")
    return _table(("names", head), ((", ".join(found), text) for text, found in names.items()))


def _answer(call: Call) -> str:
    return f"`{call.error.__name__}`" if call.error else _kind(call.kind)


def _kind(kind: Any) -> str:
    if isinstance(kind, dict):
        return f"{{{', '.join(f'{name!r}: {_kind(of_one)}' for name, of_one in kind.items())}}}"
    if isinstance(kind, Array):
        return f"{kind.dtype} ({', '.join(DIMS.get(dim, dim) for dim in kind.dims)})"
    return "None" if kind is None else f"`{kind.__name__}`"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page(), encoding="utf-8")
