"""Who may import whom, and what is never imported before it is needed."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import intake_laion_fmri

NAME = "intake_laion_fmri"
FOLDER = Path(intake_laion_fmri.__file__).parent

# Wing, or module at the top → what it may import. Each imports only what stands above it in this table.
MAY_IMPORT: Mapping[str, set[str]] = {
    unit: set(below.split())
    for unit, below in {
        "sources": "",  # names functions of all wings, and imports none
        "accessor": "",  # names functions of wings below, and imports none
        "running": "",
        "errors": "",  # and what hides secrets: below everything that prints or writes
        "layout": "errors",
        "remote": "errors layout running",
        "demo": "remote",  # see WRITING
        "config": "remote",
        "formats": "errors running",
        "axes": "errors formats layout",
        "splits": "axes errors formats layout remote running",
        "store": "axes errors formats layout remote",
        "reading": "accessor axes errors formats layout remote running splits store",
        "discovery": "errors layout reading remote",
        "betas": "reading",
        "analysis": "axes errors formats",
        "export": "analysis axes errors reading",
        "plotting": "analysis axes errors formats reading",
        "building": "axes errors layout reading remote running splits store",
        "mirror": "axes errors formats layout reading remote running splits",
        "subject": "axes discovery errors export layout mirror reading remote",
        "templates": "subject",
        "group": "axes discovery errors reading remote subject",
        "stimuli": "subject",
        **dict.fromkeys(("captions", "derivatives", "embeddings", "segmentations", "torch_data"), "subject"),
        "download": "errors layout mirror remote",
        "catalog": "building discovery errors layout reading remote sources",
        "drivers": "catalog errors layout reading sources",
        "readers": "catalog layout reading sources",
        "cli": "building catalog demo discovery download errors layout mirror reading remote running",
        "__main__": "cli",
    }.items()
}
MOST_ARROWS = 120
MOST_NAMES = 30
"""Modules and folders of one folder: what fits on a page."""
NAMES_OF_THE_PACKAGE = {"captions", "derivatives", "embeddings", "segmentations", "stimuli", "templates", "torch_data"}
"""Modules of 20 lines at most: functions of wings under the names of the data set's own package."""
MOST_LINES, MOST_LINES_OF_A_BODY, MOST_LINES_OF_A_TEST = 350, 40, 600

# Names of the wing's former module, or of its main one, loaded on first use; like the package's own `__init__` these
# are nobody's neighbours.
FACADES = {"store", "mirror", "demo", "analysis", "export", "plotting"}
# What every module that writes to a disk goes through, the oracle too.
WRITING = {"remote.atomic", "remote.locks", "remote.marks", "remote.parents"}
# Tables and arrays: these open nothing, though others of their wing do.
PURE = {f"store.{name}" for name in ("chunks", "codecs", "coordinates", "order", "rounding")}
STANDARD_LIBRARY_ONLY = {
    *("errors", "errors.redact", "running.forks", "sources"),
    *("layout", "layout.entities", "layout.keys", "layout.trees"),
    *("remote.retry", "catalog.given", "cli.interrupts"),
}
IMPORTING_BY_TEXT = {
    "sources",
    "accessor",
}  # tables of functions; tests load each
SLOW = {
    *("xarray", "dask", "distributed", "nibabel", "zarr", "s3fs", "intake", "intake_xarray", "pandas", "rich"),
    *("h5py", "PIL", "scipy", "nilearn", "matplotlib"),
}
AT_THE_TOP = {
    ("readers", "intake"),
    ("reading.engine", "xarray"),  # a subclass; loaded by xarray when it lists its engines
    ("accessor", "xarray"),  # loaded with the first Dataset
    ("catalog.datasource", "intake"),
    ("catalog.pages", "intake"),  # a subclass
    ("drivers", "intake"),  # drivers are subclasses, and Intake is there when they are loaded
    ("reading.session_chunks", "xarray"),  # a subclass; loaded with the first Dataset of betas
    ("demo.files", "nibabel"),  # loaded by the command and by tests only
    ("demo.rois", "nibabel"),
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


def name_of(path: Path) -> str:
    """Return the dotted name of a module below the package; that of a folder for its `__init__`."""
    name = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    return name.removesuffix(".__init__")


SOURCES = {name_of(path): path.read_text(encoding="utf-8") for path in sorted(FOLDER.rglob("*.py"))}
MODULES = sorted(set(SOURCES) - {"__init__"})
PACKAGES = {name_of(path) for path in FOLDER.rglob("__init__.py")} - {"__init__"}


def unit_of(module: str) -> str:
    """Return the wing of a module, or itself if it is at the top."""
    return module.split(".")[0]


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
        return name if name in SOURCES else below


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
        broken = _broken_by_other(module, one) if one.own is None else _broken_by_own(module, one)
        if broken:
            found.append(f"{what}: {broken}")
    return found


def _broken_by_own(module: str, one: Import) -> str | None:
    """Say which rule is broken by an import within the package."""
    wing, other = unit_of(module), unit_of(one.own or "")
    if not one.own:
        return None if one.name == "__version__" and wing != "demo" else "modules know each other, not the façade"
    if module in FACADES:
        return None if one.deferred else "a façade loads nothing at once"
    if one.own in FACADES:
        return "wings know each other's modules, not the façade"
    if wing == "demo":
        return None if one.own in WRITING or other == wing else "an oracle shares no code with what it judges"
    if module in PURE and other == "remote":
        return "a pure module opens nothing"
    return None if other == wing or other in MAY_IMPORT[wing] else "imports go down only"


def _broken_by_other(module: str, one: Import) -> str | None:
    """Say which rule is broken by an import of another package."""
    top = one.module.split(".")[0]
    by_text = one.module == "importlib" and one.name in {None, "import_module"}
    if by_text and module not in IMPORTING_BY_TEXT:
        return "an import by text cannot be checked"
    if module in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
        return "standard library only"
    if top in SLOW and not one.deferred and (module, top) not in AT_THE_TOP:
        return "not before a function needs it"
    return None


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


def arrows_between_modules() -> set[tuple[str, str]]:
    """Return who imports whom within the package, façades and the package itself left out."""
    known = set(MODULES) - FACADES
    return {(module, one.own) for module in known for one in imports_of(module, SOURCES[module]) if one.own}


def arrows() -> set[tuple[str, str]]:
    """Return which wing, or module at the top, imports which."""
    pairs = {(unit_of(module), unit_of(other)) for module, other in arrows_between_modules()}
    return {(unit, other) for unit, other in pairs if unit != other}


def test_the_table_has_every_wing_and_no_arrow_that_nobody_needs() -> None:
    """A new module at the top must be given its place, and what is allowed without need lets the next import slip."""
    assert set(MAY_IMPORT) == {unit_of(module) for module in MODULES}
    assert {(unit, other) for unit, below in MAY_IMPORT.items() for other in below} == arrows()
    assert FACADES | WRITING | PURE | STANDARD_LIBRARY_ONLY | {module for module, _ in AT_THE_TOP} <= set(MODULES)
    words = {word for name in MODULES for word in name.split(".")}
    assert not {"utils", "util", "helpers", "common", "shared", "constants"} & words


def test_imports_go_round_in_no_circle() -> None:
    """Neither between wings nor within one."""
    order = list(MAY_IMPORT)
    assert all(order.index(other) < order.index(unit) for unit, below in MAY_IMPORT.items() for other in below)
    graph: dict[str, set[str]] = {}
    for module, other in arrows_between_modules():
        graph.setdefault(module, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' → '.join(error.args[1])}")


def test_the_house_stays_small() -> None:
    """What a newcomer meets at once: so many arrows between the wings, so many names in a folder."""
    assert len(arrows()) <= MOST_ARROWS
    tests = Path(__file__).parent
    for top in (FOLDER, tests):
        for folder in [top, *(path for path in top.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
            names = {path.stem for path in folder.iterdir() if path.suffix in {"", ".py"}} - {"__pycache__"}
            names -= NAMES_OF_THE_PACKAGE if folder == FOLDER else set()
            assert len(names) <= MOST_NAMES, folder
    for name in NAMES_OF_THE_PACKAGE:
        assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 20


def bodies(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each function of a module and the lines of its body, without its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_modules_and_functions_stay_short() -> None:
    """One that is longer is about more than one thing: it is split along what it is about."""
    assert [module for module, source in SOURCES.items() if source.count("\n") > MOST_LINES] == []
    long = [
        (module, name)
        for module, source in SOURCES.items()
        for name, lines in bodies(source)
        if lines > MOST_LINES_OF_A_BODY
    ]
    assert long == []


def test_files_of_tests_stay_short() -> None:
    tests = {path: path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("*.py")}
    assert [path for path, text in tests.items() if text.count("\n") > MOST_LINES_OF_A_TEST] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    a = 1\n    return a", [("f", 2)]),
        ('def f():\n    """Return\n    one.\n    """\n    return 1', [("f", 1)]),
        ('class A:\n    async def f(self):\n        """Wait."""', [("f", 0)]),
    ],
)
def test_the_lines_of_a_body_are_counted(source: str, expected: list[tuple[str, int]]) -> None:
    assert list(bodies(source)) == expected


def test_no_two_tests_have_the_same_name() -> None:
    """pytest imports them by it."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_and_heavy_ones_wait(module: str) -> None:
    assert violations(module, SOURCES[module]) == []


def test_no_exception_is_left_that_nobody_needs() -> None:
    found = [(module, one) for module in MODULES for one in imports_of(module, SOURCES[module]) if not one.deferred]
    assert {(module, one.module.split(".")[0]) for module, one in found} >= AT_THE_TOP


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("axes.voxels", "from intake_laion_fmri.reading.betas import open_betas"),
        ("axes.voxels", "def f():\n    from intake_laion_fmri.reading import betas"),
        ("axes.voxels", "if TYPE_CHECKING:\n    from intake_laion_fmri.reading.blocks import SessionBlock"),
        ("formats.nifti", "from intake_laion_fmri.axes.voxels import VoxelAxis"),
        ("formats.nifti", "from intake_laion_fmri.layout import key"),
        ("axes.rois", "from intake_laion_fmri.remote.access import Bucket"),
        ("axes.rois", "from ..remote.access import Bucket"),
        ("axes.rois", "from ..remote import access"),
        ("store.chunks", "from intake_laion_fmri.remote.access import Bucket"),
        ("store.order", "from intake_laion_fmri.building.build import build_store"),
        ("store", "from intake_laion_fmri.building.build import build_store"),
        ("reading.betas", "from intake_laion_fmri import open_betas"),
        ("reading.betas", "import intake_laion_fmri.drivers"),
        ("reading.betas", "from intake_laion_fmri.mirror.run import mirror_bucket"),
        ("cli.mirror", "from intake_laion_fmri.mirror import mirror_bucket"),
        ("reading.betas", "try:\n    import dask.array as da\nexcept ImportError:\n    pass"),
        ("reading.betas", "from importlib import import_module"),
        ("reading.betas", "def f():\n    import importlib"),
        ("cli.store", "import xarray"),
        ("cli.store", "class Lazy:\n    import pandas"),
        ("cli.main", "def f():\n    from intake_laion_fmri import open_betas"),
        ("building.build", "from intake_laion_fmri.cli.options import BucketChoice"),
        ("drivers", "import xarray"),
        ("discovery", "import intake"),
        ("layout", "def f():\n    import numpy"),
        ("demo.bucket", "def f():\n    from intake_laion_fmri.layout import key"),
        ("demo.bucket", "from intake_laion_fmri.remote.retry import Attempts"),
        ("demo.bucket", "from intake_laion_fmri import __version__"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str) -> None:
    """The checks above can fail."""
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize("module", sorted(set(MODULES) - WRITING))
def test_one_module_writes_to_disks(module: str) -> None:
    """Whatever this package writes or deletes, it does whole, through no link, and only to what is its own."""
    assert changes_of_disk(SOURCES[module]) == []


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
    at_once = [one.module for one in imports_of("__init__", SOURCES["__init__"]) if not one.deferred]
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
    assert modules_after(f"from {NAME} import open_betas; import xarray") >= {f"{NAME}.reading.betas", "xarray"}


@pytest.mark.parametrize("wing", sorted(FACADES))
def test_a_wing_with_public_names_is_cheap_too(wing: str) -> None:
    """They are loaded on first use, and all of them are there."""
    loaded = modules_after(f"import {NAME}.{wing}")
    assert {name for name in loaded if name.startswith(NAME)} == {NAME, f"{NAME}.{wing}"}
    public = f"from {NAME} import {wing}; names = {{name: getattr({wing}, name) for name in {wing}.__all__}}"
    assert modules_after(f"{public}; assert names.keys() <= set(dir({wing}))") > loaded


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("__main__", "run"),
        (
            "analysis",
            "average concat convert_positions finite matrices noise_ceiling rdm reliability repetitions roi trials "
            "zscore",
        ),
        ("accessor", "Laion"),
        ("export", "lab_xarray to_brainscore to_frame to_torch"),
        ("export.presets", "lab_xarray"),
        ("betas", "open_betas open_maps open_noise_ceilings open_rois open_trials roi_data"),
        (
            "config",
            "dataset_initialize set_data_dir data_dir get_data_dir set_network network_policy NetworkPolicy "
            "NETWORK_VARIABLE CONFIG_VARIABLE",
        ),
        ("demo", "write_demo remove_demo subject_truth SCALES Scale SubjectTruth"),
        ("discovery", "get_subjects get_sessions get_rois get_categories describe inspect_bucket inventory"),
        ("download", "download"),
        ("drivers", "BetasSource TrialsSource RoisSource NoiseCeilingsSource MapsSource InventorySource LaionCatalog"),
        ("drivers", "catalog_path open_catalog"),
        ("mirror", "mirror_bucket plan_mirror fill_mirror MirrorPlan MirrorProgress MirrorReport MIRROR_KINDS"),
        ("readers", "BetasData TrialsData RoisData NoiseCeilingsData MapsData PlaceParameter"),
        ("readers", "BetasReader TrialsReader RoisReader NoiseCeilingsReader MapsReader"),
        ("splits", "list_pools list_splits list_ood_types load_split load_all_splits get_train_test_ids"),
        ("store", "build_store BuildProgress SessionReport"),
        ("subject", "load_subject Subject"),
        ("group", "load_subjects Group"),
        ("templates", "to_fsaverage to_mni305"),
    ],
)
def test_what_others_name_stays_where_it_is(module: str, names: str) -> None:
    """Notebooks, and catalogs that were saved: these name the classes of Intake's two generations by their modules."""
    found = {name: getattr(importlib.import_module(f"{NAME}.{module}"), name) for name in names.split()}
    if module in {"drivers", "readers"}:
        assert {one.__module__ for one in found.values()} == {f"{NAME}.{module}"}


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
