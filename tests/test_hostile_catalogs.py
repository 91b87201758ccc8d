"""Catalogs and arguments that try to execute something: what Intake would do, and what this package lets it do.

To Intake a catalog file is a program. Its first generation renders every text in ``args`` with Jinja, without a
sandbox, and renders the values that a caller gives in the same way; its second generation imports what ``{func(...)}``
names. So a catalog file that one would not run is not to be opened with ``intake.open_catalog``. This package keeps its
own part of that clean: values given to its entries are never rendered, and `LaionCatalog` opens only files that could
do no harm.

Whether something was executed is told by a file that it would have made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import intake
import pytest
import xarray as xr
import yaml

from intake_laion_fmri import open_betas, open_catalog
from intake_laion_fmri.drivers import BetasSource, LaionCatalog, TrialsSource, catalog_path
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.readers import BetasReader

TEMPLATES: dict[str, Callable[[Path], str]] = {
    "shell": lambda witness: f"{{{{ shell('touch {witness}') }}}}",
    "the client's shell": lambda witness: f"{{{{ client_shell('touch {witness}') }}}}",
    "globals of a function": lambda witness: f"{{{{ cycler.__init__.__globals__.os.system('touch {witness}') }}}}",
    "globals of another": lambda witness: f"{{{{ lipsum.__globals__['os'].popen('touch {witness}').read() }}}}",
    "a walk through attributes": lambda witness: (
        "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{% if c.__name__ == 'Popen' %}"
        f"{{{{ c(['touch', '{witness}']).wait() }}}}{{% endif %}}{{% endfor %}}"
    ),
    "a filter": lambda witness: f"{{{{ ''|attr('__class__') }}}}{{{{ lipsum['__globals__'].os.mknod('{witness}') }}}}",
    "behind a valid value": lambda witness: f"FFA1{{{{ lipsum.__globals__.os.mknod('{witness}') or '' }}}}",
    "in a statement": lambda witness: f"{{% set x = lipsum.__globals__.os.mknod('{witness}') %}}FFA1",
    "the environment": lambda witness: "{{ env('HOME') }}",
    "arithmetic": lambda witness: "{{ 7 * 7 }}",
    "a comment": lambda witness: "FFA1{# nothing #}",
    "not closed": lambda witness: "{{ ",
    "a loop without end": lambda witness: "{% for x in range(10**12) %}x{% endfor %}",
}
EXECUTE = ["globals of a function", "behind a valid value", "in a statement"]
"""Those that Intake 2.0 executes, whatever its ``getshell`` says."""

ARGUMENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "roi": lambda text: {"roi": text},
    "roi, in a list": lambda text: {"roi": ["FFA1", text]},
    "subject": lambda text: {"subject": text},
    "session": lambda text: {"session": text},
    "session, in a tuple": lambda text: {"session": (1, text)},
    "mask": lambda text: {"mask": text},
    "stimuli": lambda text: {"stimuli": text},
    "splits": lambda text: {"splits": text},
    "bucket": lambda text: {"bucket": text},
    "storage_options": lambda text: {"storage_options": {"client_kwargs": {"endpoint_url": text}}},
    "storage_options, in a list": lambda text: {"storage_options": {"x": [{"y": {text}}]}},
    "store": lambda text: {"store": text},
    "metadata": lambda text: {"metadata": {"x": text}},
    "an unknown argument": lambda text: {"x": text},
    "plugin": lambda text: {"plugin": text},
}


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """A file that must not appear."""
    return tmp_path / "witness"


@pytest.fixture(params=["intake.open_catalog", "open_catalog", "nested"])
def source(request: pytest.FixtureRequest, tiny: Path) -> Any:
    """An entry of the shipped catalog, opened in each way."""
    if request.param == "intake.open_catalog":
        return intake.open_catalog(str(catalog_path())).betas
    catalog = open_catalog(bucket=tiny)
    return catalog.betas if request.param == "open_catalog" else catalog["sub-01"].betas


# --- values that users give -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_in_values_are_refused(source: Any, witness: Path, template: str) -> None:
    """In every argument, by every way to give one, before Intake sees it."""
    text = TEMPLATES[template](witness)
    for arguments in (make(text) for make in ARGUMENTS.values()):
        for call in (source, source.get, source.configure_new):
            with pytest.raises(ValueError, match="holds a template"):
                call(**arguments)
    assert not witness.exists()


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_for_a_whole_catalog_are_refused(tiny: Path, witness: Path, template: str) -> None:
    """They would become arguments of every entry."""
    text = TEMPLATES[template](witness)
    nested = open_catalog(bucket=tiny)["sub-01"]
    for give in (
        lambda: open_catalog(bucket=text),
        lambda: open_catalog(bucket=tiny, storage_options={"x": [text]}),
        lambda: LaionCatalog(str(catalog_path()), bucket=text),
        lambda: LaionCatalog(str(catalog_path()), arguments={"bucket": text}),
        lambda: nested(bucket=text),
        lambda: nested.configure_new(arguments={"bucket": text}),
    ):
        with pytest.raises(ValueError, match="holds a template"):
            give()
    assert not witness.exists()


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_without_a_catalog_are_plain_texts(tiny: Path, witness: Path, template: str) -> None:
    """Functions, drivers and readers of the second generation render nothing: no ROI has such a name."""
    text = TEMPLATES[template](witness)
    for read in (
        lambda: open_betas("sub-01", roi=text, bucket=tiny),
        lambda: BetasSource(subject="sub-01", roi=text, bucket=str(tiny)).to_dask(),
        lambda: BetasReader(subject="sub-01", roi=text, bucket=str(tiny)).read(),
        lambda: BetasReader(subject="sub-01", bucket=str(tiny))(roi=text).read(),
    ):
        with pytest.raises(ValueError, match="cannot be read"):
            read()
    assert not witness.exists()


def test_values_with_single_braces_are_plain_texts(source: Any, tiny: Path, tmp_path: Path) -> None:
    """A folder may be called so."""
    folder = tmp_path / "a {folder} %} }}"
    folder.symlink_to(tiny)
    found = source(roi="FFA1", bucket=str(folder)).to_dask()
    xr.testing.assert_equal(found, open_betas("sub-01", roi="FFA1", bucket=tiny))


def test_a_value_that_holds_itself(source: Any) -> None:
    """Looked through without a recursion."""
    value: list[Any] = ["FFA1"]
    value.append(value)
    with pytest.raises(TypeError, match="must be a text"):
        BetasSource(subject="sub-01", roi=value)
    value = ["{{ x }}"]
    value.append(value)
    with pytest.raises(ValueError, match="holds a template"):
        source(roi=value)


# --- files: what Intake does ------------------------------------------------------------------------------------------


def write(folder: Path, catalog: Any, name: str = "catalog.yaml") -> str:
    path = folder / name
    path.write_text(catalog if isinstance(catalog, str) else yaml.safe_dump(catalog))
    return str(path)


def entry(**changes: Any) -> dict[str, Any]:
    made = {"driver": "intake_laion_fmri.drivers.BetasSource", "args": {"subject": "sub-01"}, **changes}
    return {"metadata": {"version": 1}, "sources": {"x": made}}


@pytest.mark.parametrize("template", EXECUTE)
def test_intake_executes_what_a_file_says(tmp_path: Path, witness: Path, template: str) -> None:
    """Its trust model, for whatever driver: this is why values are refused, and why foreign files are not to be opened.

    Should Intake get a sandbox one day, this fails, and the refusals may go.
    """
    text = TEMPLATES[template](witness)
    path = write(tmp_path, entry(driver="yaml_file_cat", args={"path": text, "name": "x"}))
    catalog = intake.open_catalog(path)
    assert not witness.exists()
    catalog.x  # noqa: B018  # taking it out of the catalog is enough
    assert witness.exists()


def test_intake_runs_no_shell_unless_told_to(tmp_path: Path, witness: Path) -> None:
    """``shell`` needs ``getshell=True``; without it the text stays."""
    path = write(tmp_path, entry(driver="yaml_file_cat", args={"path": TEMPLATES["shell"](witness), "name": "x"}))
    assert "shell(touch" in intake.open_catalog(path).x.path
    assert not witness.exists()


TAGS = [
    "!!python/object/apply:os.system ['touch {witness}']",
    "!!python/object/new:os.system ['touch {witness}']",
    "!!python/object/apply:subprocess.check_call [['touch', '{witness}']]",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!python/object:os._wrap_close {{}}",
    "!exec 'touch {witness}'",
]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("generation", ["first", "second", "ours"])
def test_tags_of_yaml_execute_nothing(tmp_path: Path, witness: Path, tag: str, generation: str) -> None:
    """All of them read with the safe loader, which knows no such tag."""
    text = tag.format(witness=witness)
    first = f"metadata: {{version: 1}}\nsources: {{x: {{driver: laion_fmri_betas, args: {{subject: {text}}}}}}}\n"
    second = f"version: 2\nmetadata: {{}}\nuser_parameters: {{x: {text}}}\ndata: {{}}\nentries: {{}}\naliases: {{}}\n"
    path = write(tmp_path, second if generation == "second" else first)
    expected: tuple[type[Exception], str] = (yaml.constructor.ConstructorError, "could not determine a constructor")
    if generation == "ours":
        expected = (DataIntegrityError, r"catalog\.yaml is no catalog of this package")
    opened = {"first": intake.open_catalog, "second": intake.from_yaml_file, "ours": LaionCatalog}[generation]
    with pytest.raises(expected[0], match=expected[1]):
        opened(path)
    assert not witness.exists()


# --- files: what this package lets it do ------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("where", ["a value", "a list", "a mapping", "metadata"])
def test_our_catalog_opens_no_file_with_templates(tmp_path: Path, witness: Path, template: str, where: str) -> None:
    """None but the folder's, wherever it stands."""
    text = TEMPLATES[template](witness)
    changes = {
        "a value": {"args": {"subject": text}},
        "a list": {"args": {"subject": "sub-01", "roi": ["FFA1", [text]]}},
        "a mapping": {"args": {"subject": "sub-01", "storage_options": {"x": {"y": text}}}},
        "metadata": {"metadata": {"x": text}},
    }[where]
    with pytest.raises(DataIntegrityError, match=r"catalog\.yaml is no catalog .*expected no template but"):
        LaionCatalog(write(tmp_path, entry(**changes)))
    assert not witness.exists()


def harmful(witness: Path) -> dict[str, tuple[Any, str]]:
    """Catalogs that make Intake import or call something when they are opened."""
    mark = {"name": {"description": "x", "type": "str", "default": f"shell(touch {witness})"}}
    call = {"cls": "subprocess.Popen", "args": [["touch", str(witness)]]}
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    sources = "sources: {x: {driver: laion_fmri_betas, args: {subject: sub-01, roi: *i}}}\n"
    return {
        "a class that is called": ({"sources": {"x": call}}, "expected driver, description, args and metadata alone"),
        "a module to import": ({"plugins": {"source": [{"module": "evil"}]}, "sources": {}}, "found 'plugins'"),
        "a driver to import": (entry(driver="evil.Driver"), "expected a driver of this package"),
        "a driver of the system": (entry(driver="os.system"), "expected a driver of this package"),
        "several drivers": (entry(driver=["laion_fmri_betas", "evil.Driver"]), "expected a driver of this package"),
        "a mapping of drivers": (entry(driver={"x": {"class": "evil.Driver"}}), "expected a driver of this package"),
        "no driver": (entry(driver=None), "expected a driver of this package"),
        "parameters of an entry": (entry(parameters=mark), "expected driver, description, args and metadata alone"),
        "parameters of the catalog": ({"metadata": {"parameters": mark}, "sources": {}}, "without 'parameters'"),
        "an alias that stands for a billion": (bomb + sources, "at most 10000 values"),
        "args that are a list": (entry(args=["x"]), "expected args to be a mapping"),
        "an entry that is a list": ({"sources": {"x": []}}, "expected driver, description"),
        "sources that are a list": ({"sources": []}, "a mapping with 'sources'"),
        "a field twice": ("sources: {}\nsources: {}\n", "duplicate key"),
        "no YAML": ("{", "while parsing"),
        "nothing": ("", "a mapping with 'sources'"),
        "a text": ("sources", "a mapping with 'sources'"),
        "deep nesting": ("sources: " + "[" * 5000, "recursion|parsing|depth"),
        "too long": ("# " + "x" * 1_100_000, "at most 1048576 characters"),
        "the other generation": ({"version": 2, "sources": {}}, "Not a V1 Catalog"),
        "a NUL": ("sources: {}\0", "special characters|control characters"),
    }


@pytest.mark.parametrize("case", harmful(Path("x")))
def test_our_catalog_opens_no_file_that_could_do_harm(
    tmp_path: Path, witness: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Nothing is imported or called, and what is wrong is said."""
    (tmp_path / "evil.py").write_text(f"open({str(witness)!r}, 'w')\nclass Driver: container = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content, message = harmful(witness)[case]
    with pytest.raises(DataIntegrityError, match=rf"(?s)catalog\.yaml is no catalog .*(?:{message})"):
        LaionCatalog(write(tmp_path, content))
    assert not witness.exists()
    assert "evil" not in sys.modules


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataIntegrityError, match=r"catalog\.yaml"):
        LaionCatalog(str(path))


def test_a_nested_catalog_is_held_to_the_same(tmp_path: Path, witness: Path) -> None:
    """It is another file, and may have come from elsewhere."""
    write(tmp_path, entry(args={"subject": TEMPLATES["in a statement"](witness)}), "inner.yaml")
    outer = {"driver": "intake_laion_fmri.drivers.LaionCatalog", "args": {"path": "{{ CATALOG_DIR }}/inner.yaml"}}
    catalog = LaionCatalog(write(tmp_path, {"sources": {"inner": outer}}))
    with pytest.raises(DataIntegrityError, match=r"inner\.yaml is no catalog"):
        list(catalog.inner)
    assert not witness.exists()


def test_a_folder_with_a_template_in_its_name(tmp_path: Path, witness: Path) -> None:
    """Intake renders the folder, too, and this one has a slash to spare."""
    folder = tmp_path / "{{ lipsum.__globals__.os.mknod('witness') }}"
    folder.mkdir()
    with pytest.raises((DataIntegrityError, ValueError), match="holds a template"):
        LaionCatalog(write(folder, catalog_path().read_text()))
    assert not witness.exists()


def test_the_shipped_files_open(tiny: Path) -> None:
    """All of them, by the strict class; so does what a source prints."""
    for path in sorted(catalog_path().parent.glob("*.yaml")):
        if "v2" not in path.name:
            assert list(LaionCatalog(str(path), bucket=tiny))
    printed = open_catalog(bucket=tiny).trials.yaml()
    assert yaml.safe_load(printed)["sources"]


def test_a_printed_source_opens(tiny: Path, tmp_path: Path) -> None:
    """Also with a tuple, for which YAML has a tag."""
    printed = TrialsSource(subject="sub-01", session=(1, 2), bucket=str(tiny)).yaml()
    assert "!!python/tuple" in printed
    assert len(LaionCatalog(write(tmp_path, printed)).laion_fmri_trials.read())


# --- the second generation --------------------------------------------------------------------------------------------

WORDS = [
    "{func(os:getcwd)}",
    "{import(os:getcwd)}",
    "{env(HOME)}",
    "{data(x)}",
    "{pickle64(gASVCgAAAAAAAABLAS4=)}",
    "{x}",
]


@pytest.mark.parametrize("text", WORDS)
def test_words_of_the_second_generation_are_plain_texts_to_readers(tiny: Path, text: str) -> None:
    """What a caller gives to an entry is not looked up."""
    catalog = intake.from_yaml_file(str(catalog_path().with_name("laion_fmri.v2.yaml")))(bucket_url=str(tiny))
    for read in (lambda: catalog.betas(roi=text).read(), lambda: catalog.betas.read(roi=text)):
        with pytest.raises(ValueError, match="cannot be read"):
            read()


def test_words_in_a_parameter_of_the_whole_catalog_are_intakes(tmp_path: Path, witness: Path) -> None:
    """Intake imports what a parameter names, unless ``allow_import`` is off; what comes of it is no bucket.

    In a process of its own, because an import stays.
    """
    (tmp_path / "evil.py").write_text(f"open({str(witness)!r}, 'w')\nvalue = 3\n")
    path = catalog_path().with_name("laion_fmri.v2.yaml")
    code = (
        f"import intake, sys; cat = intake.from_yaml_file({str(path)!r})\n"
        "intake.conf.set(allow_import=sys.argv[1] == 'yes')\n"
        "cat(bucket_url='func(evil:value)').betas"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    for allowed, error in (("no", "SecurityError"), ("yes", "TypeError: bucket must be")):
        command = [sys.executable, "-c", code, allowed]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert error in done.stderr
        assert witness.exists() is (allowed == "yes")
