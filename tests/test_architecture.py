"""The package's layers: which module may import which, and what is never imported before it is needed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import intake_laion_fmri

NAME = "intake_laion_fmri"
FOLDER = Path(intake_laion_fmri.__file__).parent

# Module → layer. Imports go down only.
LAYERS = {
    "layout": 0,  # bucket keys and constants; exceptions; where downloads go: standard library only
    "redact": -1,  # hides secrets; below everything that prints or writes
    "given": 0,  # values on their way through Intake
    "errors": 0,
    "network": 0,
    "forks": 0,
    "atomic": 0.05,  # what changes a disk; how this project's own things are known; locks
    "marks": 0.06,
    "locks": 0.06,
    "addresses": 0.1,  # what is a path, and what a URL
    "config": 0.2,
    "interrupts": 0,  # Ctrl-C
    "cache": 1.0,  # bytes: what is kept of small files; a local copy of the bucket; any root; where the data are
    "mirror_proofs": 0.9,
    "mirror_folder": 1.0,
    "streaming": 1.0,
    "s3_settings": 1.0,
    "answers": 1.0,
    "s3_objects": 1.05,
    "s3_session": 1.04,
    "local_files": 1.05,
    "web_files": 1.05,
    "bucket": 1.1,
    "access": 1.2,
    "partial_files": 1.1,  # one object into a mirror
    "transfer": 1.3,
    "nifti": 1,  # volumes; the trial axis; the voxel axis
    "trials": 1,
    "voxels": 1,
    "chunks": 1,  # blocks of betas as chunks of Zarr; in which order; a place that is written to
    "ordering": 1,
    "store_groups": 1.25,
    "store_coordinates": 1.25,
    "store_root": 1.3,
    "demo": 1,  # beside them: the oracle
    "discovery": 2,  # what exists; ROI grammar and formats; who is train or test; one file as one task
    "rois": 2,
    "surfaces": 2,
    "splits": 2,
    "blocks": 2,
    "session_chunks": 2,  # how blocks of different lengths are saved
    "arguments": 3.0,  # the assembler, in the order of its work: arguments, what to read, the Dataset
    "store_format": 3.0,  # what a store's metadata say
    "roi_files": 3.0,
    "plans": 3.1,
    "roi_plans": 3.2,
    "assembly": 3.2,
    "store_plans": 3.3,
    "betas": 3.4,
    "store_target": 3.2,  # where a store may be built
    "store": 4,  # building, checking and telling of stores
    "store_checks": 4.1,
    "mirror_selection": 4.0,  # filling a local folder with a part of the bucket; what one holds
    "mirror_splits": 4.05,
    "mirror": 4.1,
    "mirror_checks": 4.2,
    "catalog_files": 4.2,  # YAML of everything, from an inventory
    "drivers": 5,  # shells
    "readers": 5,
    "subject": 5,
    "download": 5,
    "commands.output": 5,  # the command line: what it prints; its options and how it ends; its commands; all of it
    "commands.wording": 5.05,
    "commands.exits": 5.1,
    "commands.options": 5.1,
    "commands.bucket": 5.2,
    "commands.cache": 5.2,
    "commands.catalog": 5.2,
    "commands.demo": 5.2,
    "commands.mirror": 5.2,
    "commands.store": 5.2,
    "commands": 5.3,
    "__main__": 5.4,
}
PACKAGES = {"commands"}
# The only imports within a layer, and the names that they may take.
SAME_LAYER = {
    ("nifti", "voxels"): {"Grid"},
    ("surfaces", "rois"): {"MASK_RULE", "ROI", "RoiMembership", "RoiNames", "RoiSelection", "VertexList"},
}
# What every module that writes to a disk goes through, the oracle too.
WRITING = {"atomic", "marks", "locks"}
# File objects, tables and arrays: these never open anything.
PURE = {"nifti", "trials", "voxels", "rois", "chunks", "ordering"}
SLOW = {"xarray", "dask", "distributed", "nibabel", "zarr", "s3fs", "intake", "intake_xarray", "pandas", "rich"}
AT_THE_TOP = {
    ("readers", "intake"),
    ("drivers", "intake"),  # drivers are subclasses, and Intake is there when they are loaded
    ("session_chunks", "xarray"),  # a subclass; loaded with the first Dataset of betas
    ("demo", "nibabel"),  # loaded by the command and by tests only
}


# What changes a disk: methods of paths, functions of os, whole modules.
CHANGING_METHODS = {
    *("chmod", "hardlink_to", "link_to", "mkdir", "rename", "rmdir", "symlink_to", "touch", "unlink"),
    *("write_bytes", "write_text", "to_filename", "tofile"),
}
CHANGING_OS = {
    *("chmod", "chown", "fsync", "lchown", "link", "makedirs", "mkdir", "mkfifo", "mknod", "remove", "removedirs"),
    *("rename", "renames", "replace", "rmdir", "symlink", "truncate", "unlink", "utime"),
}
CHANGING_MODULES = {"filelock", "tempfile", "shutil"}
HARMLESS = {("shutil", "disk_usage"), ("shutil", "get_terminal_size")}


@dataclass(frozen=True)
class Import:
    """One name that a module imports."""

    module: str
    """Dotted name of what is imported from, absolute."""
    name: str | None
    """The name taken out of it, if any."""
    deferred: bool
    """Whether it is inside a function, or for type checkers only."""

    @property
    def own(self) -> str | None:
        """The module of this package that is meant; "" is the package itself; None is another package."""
        if self.module != NAME and not self.module.startswith(f"{NAME}."):
            return None
        below = self.module.removeprefix(NAME).removeprefix(".")
        name = f"{below}.{self.name}".removeprefix(".")
        return name if name in LAYERS else below


def imports(tree: ast.AST, package: str = NAME, *, deferred: bool = False) -> Iterator[Import]:
    """Find the imports of a module of a package, wherever they stand."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield from (Import(base, alias.name, deferred) for alias in node.names)
        else:
            for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, package, deferred=deferred or for_types or inside)


def imports_of(module: str, source: str) -> Iterator[Import]:
    """Find the imports in the source of one of our modules."""
    package = module if module in PACKAGES else module.rpartition(".")[0]
    return imports(ast.parse(source), f"{NAME}.{package}".removesuffix("."))


def violations(module: str, source: str) -> list[str]:
    """Say in words which rules a module's imports break."""
    found = []
    for one in imports_of(module, source):
        what = f"{module} imports {one.module}" + (f".{one.name}" if one.name else "")
        top = one.module.split(".")[0]
        if one.own:
            if module == "demo" and one.own not in WRITING:
                found.append(f"{what}: an oracle shares no code with what it judges")
            elif one.own == "access" and module in PURE:
                found.append(f"{what}: a pure module opens nothing")
            elif (module, one.own) in SAME_LAYER:
                if one.name not in SAME_LAYER[module, one.own]:
                    found.append(f"{what}: only {SAME_LAYER[module, one.own]}")
            elif LAYERS[one.own] >= LAYERS[module]:
                found.append(f"{what}: imports go down only")
        elif one.own == "":
            if one.name != "__version__" or module == "demo":
                found.append(f"{what}: modules know each other, not the façade")
        elif LAYERS[module] <= 0 and top not in sys.stdlib_module_names:
            found.append(f"{what}: layer 0 is standard library only")
        elif top in SLOW and not one.deferred and (module, top) not in AT_THE_TOP:
            found.append(f"{what}: not before a function needs it")
        if one.module == "importlib" and one.name in {None, "import_module"}:
            found.append(f"{what}: an import by text cannot be checked")
    return found


def changes_of_disk(source: str) -> list[str]:
    """Return the calls and imports of a module by which it writes, moves or deletes a path."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {(node.module, alias.name) for alias in node.names}
            if node.module == "os":
                found += [f"from os import {name}" for _, name in names if name in CHANGING_OS]
            elif node.module.split(".")[0] in CHANGING_MODULES and names - HARMLESS:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Import):
            found += [f"import {one.name}" for one in node.names if one.name in CHANGING_MODULES - {"shutil"}]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            if (pair[0] == "os" and pair[1] in CHANGING_OS) or (pair[0] == "shutil" and pair not in HARMLESS):
                found.append(ast.unparse(node))
        if isinstance(node, ast.Call) and _changes_disk(node):
            found.append(ast.unparse(node))
    return found


def _changes_disk(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    words = {ast.unparse(one) for one in [*call.args, *(keyword.value for keyword in call.keywords)]}
    if owner == "os":  # other functions of it are in the table
        opens = name == "open" and "os.devnull" not in words
        return opens and any(flag in " ".join(words) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "flags"))
    if name == "GzipFile" and any(one.arg == "fileobj" for one in call.keywords):
        return False  # of a file that is open
    if name in {"open", "FileIO", "fdopen", "GzipFile"}:
        texts = {one.value for one in ast.walk(call) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
        return any(set(text) <= set("rwaxbt+U") and set(text) & set("wax+") for text in texts)
    if name == "replace":  # a path's takes the new name alone; that of texts takes two, of data classes keywords
        return bool(owner) and len(call.args) == 1 and not call.keywords
    return bool(owner) and name in CHANGING_METHODS


def source_of(module: str) -> str:
    path = FOLDER.joinpath(*module.split("."))
    file = path / "__init__.py" if module in PACKAGES else path.with_suffix(".py")
    return file.read_text(encoding="utf-8")


def test_every_module_is_in_the_table_and_nothing_else() -> None:
    """A new module must be given its place; a removed one leaves no entry behind."""
    modules = {".".join(path.relative_to(FOLDER).with_suffix("").parts) for path in FOLDER.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in modules - {"__init__"}} == set(LAYERS)
    words = {word for name in LAYERS for word in name.split(".")}
    assert not {"utils", "util", "helpers", "common", "shared", "constants"} & words
    assert {name for pair in SAME_LAYER for name in pair} | PURE <= set(LAYERS)


@pytest.mark.parametrize("module", LAYERS)
def test_imports_go_down_and_heavy_ones_wait(module: str) -> None:
    assert violations(module, source_of(module)) == []


def test_no_exception_is_left_that_nobody_needs() -> None:
    """An exception that has become needless must go, lest the next import slips through it."""
    found = [(module, one) for module in LAYERS for one in imports_of(module, source_of(module))]
    assert {(module, one.module.split(".")[0]) for module, one in found if not one.deferred} >= AT_THE_TOP
    needed = {(*pair, name) for pair, names in SAME_LAYER.items() for name in names}
    assert {(module, one.own, one.name) for module, one in found} >= needed


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("voxels", "from intake_laion_fmri.betas import open_betas"),
        ("voxels", "def f():\n    from intake_laion_fmri import betas"),
        ("voxels", "if TYPE_CHECKING:\n    from intake_laion_fmri.betas import SessionBlock"),
        ("trials", "from intake_laion_fmri.voxels import Grid"),
        ("nifti", "from intake_laion_fmri.voxels import VoxelAxis"),
        ("rois", "from intake_laion_fmri.access import Bucket"),
        ("rois", "from .access import Bucket"),
        ("rois", "from . import access"),
        ("betas", "from intake_laion_fmri import open_betas"),
        ("betas", "import intake_laion_fmri.drivers"),
        ("betas", "try:\n    import dask.array as da\nexcept ImportError:\n    pass"),
        ("betas", "from importlib import import_module"),
        ("betas", "def f():\n    import importlib"),
        ("commands.store", "import xarray"),
        ("commands.store", "class Lazy:\n    import pandas"),
        ("commands.store", "from intake_laion_fmri.commands import catalog"),
        ("commands.store", "from . import catalog"),
        ("commands.store", "from .catalog import check"),
        ("commands.output", "from .. import commands"),
        ("commands", "def f():\n    from intake_laion_fmri import open_betas"),
        ("store", "from intake_laion_fmri.commands.options import BucketChoice"),
        ("drivers", "import xarray"),
        ("discovery", "import intake"),
        ("layout", "def f():\n    import numpy"),
        ("demo", "def f():\n    from intake_laion_fmri.layout import key"),
        ("demo", "from intake_laion_fmri import __version__"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str) -> None:
    """The checks above can fail."""
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize("module", sorted(set(LAYERS) - WRITING))
def test_one_module_writes_to_disks(module: str) -> None:
    """Whatever this package writes or deletes, it does whole, through no link, and only to what is its own."""
    assert changes_of_disk(source_of(module)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.unlink(path)",
        "import os\nmove = os.replace",
        "from os import rename",
        "import shutil\nshutil.rmtree(folder)",
        "from shutil import rmtree",
        "import tempfile",
        "def f():\n    from filelock import FileLock",
        "path.unlink(missing_ok=True)",
        "path.replace(target)",
        "path.with_name('x').replace(target)",
        "path.mkdir()",
        "path.write_bytes(b'')",
        "open(path, 'wb')",
        "path.open('w', encoding='utf-8')",
        "open(path, mode='r+b')",
        "gzip.GzipFile('x.gz', 'wb')",
        "io.FileIO(path, 'rb+')",
        "import os\nos.open(path, os.O_WRONLY)",
        "import os\nos.open(path, flags)",
    ],
)
def test_a_change_of_a_disk_is_found(source: str) -> None:
    assert changes_of_disk(source)


def test_what_changes_no_disk_passes() -> None:
    source = """
import dataclasses, os, shutil
text.replace("a", "b"); replace(one, size=2); dataclasses.replace(one, size=2); one.copy(name="x")
open(path, "rb"); path.open("rb", buffering=0); path.read_bytes(); os.open(os.devnull, os.O_WRONLY)
os.open(path, os.O_RDONLY); bucket.open(); shutil.disk_usage(path); os.listdir(path); print("wax")
"""
    assert changes_of_disk(source) == []


def test_the_facade_loads_nothing_by_itself() -> None:
    """Every module of the package that `__init__` names is for type checkers, or for whoever asks for it."""
    at_once = [one.module for one in imports_of("__init__", source_of("__init__")) if not one.deferred]
    assert {name.split(".")[0] for name in at_once} <= {"__future__", "typing"}


def modules_after(statement: str) -> set[str]:
    """Return all modules loaded in a fresh process after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    return set(json.loads(done.stdout))


def test_importing_the_package_is_cheap() -> None:
    """No xarray, Dask, nibabel, Zarr or pandas until a function needs them."""
    loaded = modules_after(f"import {NAME}")
    assert NAME in loaded
    assert not loaded & SLOW
    # The way in really is there: the same process loads them when asked.
    assert modules_after(f"from {NAME} import open_betas; import xarray") >= {f"{NAME}.betas", "xarray"}


def test_importing_intake_is_no_slower() -> None:
    """With the package installed, `import intake` loads what it loads without it: nothing of ours, nothing for us."""
    # All that an installed package can do to `import intake` goes through its metadata, so hiding these is not having
    # it. Both processes filter, and differ in what they hide only.
    prepare = """
import importlib.metadata as metadata
find = metadata.MetadataPathFinder.find_distributions
def find_others(*args, **kwargs):
    return (found for found in find(*args, **kwargs) if found.metadata["Name"] != {hidden!r})
metadata.MetadataPathFinder.find_distributions = find_others
points = metadata.entry_points(group="intake.drivers")
assert any(point.module.startswith("intake_laion_fmri") for point in points) is {installed}
import intake
"""
    with_package = modules_after(prepare.format(hidden="no-such-package", installed=True))
    without = modules_after(prepare.format(hidden="intake-laion-fmri", installed=False))
    assert "intake" in with_package
    assert with_package == without
    assert not [name for name in with_package if name.split(".")[0] == NAME]
    assert not with_package & (SLOW - {"intake"})
