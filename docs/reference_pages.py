"""Write the pages of the API reference: one for each module with `__all__`, one for each name in it.

A name is public if `__all__` of a module at the top of the package has it. A new module or name gets its page without
anything being added here. A name that is public in two modules has its page in the first.
"""

import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import intake_laion_fmri
from intake_laion_fmri.sources import SOURCES

HERE = Path(__file__).parent
PACKAGE = intake_laion_fmri.__name__
FOLDER = Path(intake_laion_fmri.__file__).parent
FIRST = ("", "analysis", "accessor", "plotting", "export", "subject", "group", "splits", "discovery", "config")
GROUPS = ("Open data", "Functions", "Carry over", "Plot", "Copy", "Classes", "Values", "Errors", "Warnings")
LAST = ("demo", "drivers", "readers", "sources", "layout")  # of use to those who extend the package

EXAMPLES = ("first_picture", "roi_algebra", "zscore_and_average", "train_and_test", "images_and_captions")
"""The gallery begins with these; the others follow by name."""


def order_of_example(file: str) -> tuple[int, str]:
    """Return the key by which the gallery is sorted."""
    name = Path(file).stem
    return (EXAMPLES.index(name) if name in EXAMPLES else len(EXAMPLES), name)


def public_modules() -> list[str]:
    """Return the names below the package of all modules that have `__all__`; "" is the package itself."""
    files = [FOLDER / "__init__.py", *FOLDER.glob("*.py"), *FOLDER.glob("*/__init__.py")]
    found = {
        ".".join(file.relative_to(FOLDER).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        for file in files
        if re.search(r"^__all__ = ", file.read_text(encoding="utf-8"), re.M)
    }
    others = sorted(found - {*FIRST, *LAST})
    return [name for name in (*FIRST, *others, *LAST) if name in found]


def public_names() -> Iterator[tuple[str, str, Any]]:
    """Yield the module, name and value of every public name; the same object may occur twice."""
    for below in public_modules():
        module = importlib.import_module(f"{PACKAGE}.{below}".rstrip("."))
        for name in module.__all__:
            if name != "__version__":
                yield module.__name__, name, getattr(module, name)


def pages() -> dict[tuple[str, str], str]:
    """Return the page of every public name, as ``module.name``."""
    homes: dict[Any, str] = {}
    found = {}
    for module, name, value in public_names():
        is_definition = inspect.isclass(value) or inspect.isroutine(value)
        full = f"{module}.{name}"
        found[module, name] = homes.setdefault((name, id(value)), full) if is_definition else full
    return found


def code_of_pages(docs: Path) -> dict[Path, str]:
    """Return the code of the guide and the gallery, and the calls that "Coming from laion_fmri" lists; all is run."""
    files = [*docs.glob("gallery/*.py"), *docs.glob("guide/*.md"), docs / "coming-from-laion-fmri.md"]
    texts = {path.relative_to(docs): path.read_text(encoding="utf-8") for path in files}
    of_markdown = re.compile(r"(?ms)^```python\n(.*?)^```|^\| (`[^\n]*)")
    return {
        path: text if path.suffix == ".py" else "\n".join(a or b for a, b in of_markdown.findall(text))
        for path, text in texts.items()
    }


@functools.cache
def own_examples() -> dict[str, str]:
    """Return the examples of names that no page uses, as a console shows them."""
    found = {}
    for section in (HERE / "reference_examples.txt").read_text(encoding="utf-8").split("\n# ")[1:]:
        names, _, code = section.partition("\n")
        found |= {name: code.strip().replace("$name", name) for name in names.split(", ")}
    for source in SOURCES.values():
        where = f'bucket="demo-bucket"{", subject=" + repr("sub-01") if source.of_subject else ""}'.replace("'", '"')
        found[source.driver] = f">>> source = {source.driver}({where})\n>>> data = source.read()"
        found[source.data] = f">>> data = {source.data}({where})\n>>> reader = data.to_reader()"
        found[source.reader] = f">>> reader = {source.reader}({where})\n>>> data = reader.read()"
    return found


def write(folder: Path, docs: Path) -> None:
    """Write all pages; those of names that are gone are removed."""
    (folder / "names").mkdir(parents=True, exist_ok=True)
    texts, known, wanted = code_of_pages(docs), pages(), {folder / "index.rst": _index()}
    for module, name, value in public_names():
        full = f"{module}.{name}"
        if known[module, name] == full:
            wanted[folder / "names" / f"{full}.rst"] = _page_of_name(module, name, value, texts)
    for below in public_modules():
        module = f"{PACKAGE}.{below}".rstrip(".")
        wanted[folder / f"{module}.rst"] = _page_of_module(module, known)
    for path in {*folder.rglob("*.rst")} - {*wanted}:
        path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # Sphinx reads again what is newer
            path.write_text(text, encoding="utf-8")


def _titled(title: str, *parts: str) -> str:
    return "\n\n".join([f"{title}\n{'=' * len(title)}", *(part for part in parts if part)]) + "\n"


def _block(directive: str, *lines: str) -> str:
    return "\n".join([f".. {directive}", *(f"   {line}".rstrip() for line in lines)])


def _index() -> str:
    modules = [f"{PACKAGE}.{below}".rstrip(".") for below in public_modules()]
    rows = [f"* - :doc:`{name} <{name}>`\n     - {_summary(importlib.import_module(name))}" for name in modules]
    text = "Every public name, from the docstrings. Users need the first page, ``ds.laion``, and little more."
    table = _block("list-table::", ":widths: auto", "", *"\n".join(rows).replace("\n     ", "\n  ").split("\n"))
    return _titled("API reference", text, table, _block("toctree::", ":hidden:", "", *modules))


def _page_of_module(module: str, known: dict[tuple[str, str], str]) -> str:
    value = importlib.import_module(module)
    doc = inspect.getdoc(value) or ""
    full_names = [full for (of, _), full in known.items() if of == module]
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for full in sorted(full_names, key=str.lower):
        groups[_group_of(full)].append(full)
    tables = []
    for group, members in groups.items():
        if not members:
            continue
        rows = [line for full in members for line in (f"* - :py:obj:`~{full}`", f"  - {_summary(_load(full))}")]
        tables.append(f"{group}\n{'-' * len(group)}\n\n" + _block("list-table::", ":widths: 25 75", "", *rows))
    if module == f"{PACKAGE}.accessor":
        tables.insert(0, _methods())
    own = [full for group in groups.values() for full in group if full.rpartition(".")[0] == module]
    entries = [f"{full.rpartition('.')[2]} <names/{full}>" for full in own]
    toctree = _block("toctree::", ":hidden:", "", *entries) if own else ""
    return _titled(module, doc, *tables, toctree)


def _methods() -> str:
    """Return the table of what ``ds.laion`` has; each is a function of a public module."""
    from intake_laion_fmri.accessor import OPERATIONS

    rows = []
    for name in sorted(OPERATIONS):
        full = next(full for full in _all_pages() if full.endswith(f".{name}"))
        rows += [f"* - :py:obj:`{name} <{full}>`", f"  - {_summary(_load(full))}"]
    return "Methods of ds.laion\n-------------------\n\n" + _block("list-table::", ":widths: 25 75", "", *rows)


def _load(full: str) -> Any:
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _group_of(full: str) -> str:
    value, name = _load(full), full.rpartition(".")[2]
    if inspect.isclass(value):
        if issubclass(value, Warning):
            return "Warnings"
        return "Errors" if issubclass(value, BaseException) else "Classes"
    if not inspect.isroutine(value):
        return "Values"
    verb = name.partition("_")[0]
    return {"open": "Open data", "to": "Carry over", "download": "Copy", "plot": "Plot"}.get(verb, "Functions")


def _summary(value: Any) -> str:
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
    return f"``{type(value).__name__}``"


def _page_of_name(module: str, name: str, value: Any, texts: dict[Path, str]) -> str:
    head = _block(f"currentmodule:: {module}")
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        foreign = {base.__name__ for base in value.__mro__ if not base.__module__.startswith(PACKAGE)}
        options = [":members:", f":inherited-members: {', '.join(sorted(foreign))}"] if kind == "class" else []
        body = _block(f"auto{kind}:: {name}", *options)
    elif inspect.isroutine(value):
        body = _block(f"autofunction:: {name}")
    else:
        body = _block(f"autodata:: {name}", ":no-value:")
    return _titled(name, head, body, *examples_of(module, name, texts))


def examples_of(module: str, name: str, texts: dict[Path, str]) -> list[str]:
    """Return a name's example, and which pages and examples call a function, or its entry in the catalog."""
    entry = rf"|cat\.{name.removeprefix('open_')}\(" if name.startswith("open_") else ""
    users = [path for path, text in texts.items() if re.search(rf"\b{re.escape(name)}\({entry}", text)]
    own = own_examples().get(name)
    guide = [f":doc:`/{path.with_suffix('').as_posix()}`" for path in sorted(users) if path.suffix == ".md"]
    files = [path.as_posix() for path in sorted(users) if path.suffix == ".py"]
    parts = [f">>> from {module} import {name}\n{own}"] if own else []
    parts += [f"In the guide: {', '.join(guide)}."] if guide else []
    parts += [_block("minigallery::", "", *files)] if files else []
    return ["Examples\n--------", *parts] if parts else []


def find_short_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Resolve a name as docstrings write it, ``open_betas`` or ``config.set_network``, unless it is an argument."""
    if node.get("refdomain") != "py":
        return None
    target, domain = node["reftarget"], env.get_domain("py")
    page = node.get("refdoc", "").partition("reference/names/")[2]
    if page and inspect.isroutine(_load(page)) and target in inspect.signature(_load(page)).parameters:
        return None
    full = next((full for full in _all_pages() if full.endswith(f".{target}")), None)
    return full and domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)


@functools.cache
def _all_pages() -> tuple[str, ...]:
    return tuple(pages().values())
