"""Values that try to execute something on their way through a catalog.

To Intake a catalog file is a program. Its first generation renders every text in ``args`` with Jinja, without a
sandbox, and renders the values that a caller gives in the same way; its second generation imports what ``{func(...)}``
names. So a catalog file that one would not run is not to be opened, whatever opens it. Values are another matter: what
is given to this package's catalogs, entries and readers is never rendered, nor is it when it was saved and is opened
again.

Whether something was executed is told by a file that it would have made.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import xarray as xr
import yaml
from jinja2 import Environment
from tiers import sampled

from intake_laion_fmri import open_betas, open_catalog
from intake_laion_fmri.catalog.given import shown
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

ARGUMENTS: dict[str, Callable[[Any], dict[str, Any]]] = {
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
    "storage_options, in a list": lambda text: {"storage_options": {"x": [{"y": (text,)}]}},
    "store": lambda text: {"store": text},
    "store_options": lambda text: {"store": "nowhere", "store_options": {str(text): text}},
    "mirror": lambda text: {"mirror": text},
    "metadata": lambda text: {"metadata": {"x": text}},
    "an unknown argument": lambda text: {"x": text},
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


class Text(str):
    """A text of another class."""


class Folder:
    """What names a path, and is none."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


KINDS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "subclass": Text,
    "numpy": np.str_,
    "Path": Path,
    "PathLike": Folder,
    "bytes": str.encode,
    "list": lambda text: [text],
    "nested": lambda text: {"x": (text, {text: [Path(text)]})},
}


def tried(action: Callable[[], Any]) -> None:
    """Do what may well be refused: no such folder, no such option."""
    with contextlib.suppress(ValueError, TypeError, OSError, KeyError, ImportError):
        action()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", sampled(KINDS, keep=1))
def test_values_are_never_rendered(
    source: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In every argument, of every type, by every way to give one, now and when the source is opened."""
    monkeypatch.chdir(tmp_path)
    value = KINDS[kind](TEMPLATES["globals of a function"](Path("witness")))
    calls = [source.get, source.configure_new, source(roi="FFA1")]
    if isinstance(source.cat, LaionCatalog):  # an entry that Intake made itself is Intake's
        calls.append(source.cat.walk(depth=1)["betas"])
    for make in ARGUMENTS.values():
        arguments = {"bucket": tiny, **make(value)}
        tried(lambda arguments=arguments: source(**arguments).to_dask())
        for call in calls:
            tried(lambda call=call, arguments=arguments: call(**arguments)(session=1))
    assert not (tmp_path / "witness").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", sampled(KINDS, keep=1))
def test_values_for_a_whole_catalog_are_never_rendered(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """They become arguments of every entry, and of the catalogs below."""
    monkeypatch.chdir(tmp_path)
    value = KINDS[kind](TEMPLATES["in a statement"](Path("witness")))
    nested, path = open_catalog(bucket=tiny)["sub-01"], str(catalog_path())
    for give in (
        lambda: open_catalog(bucket=value),
        lambda: open_catalog(bucket=tiny, mirror=value),
        lambda: open_catalog(bucket=tiny, storage_options={"x": [value], str(value): value}),
        lambda: LaionCatalog(path, bucket=value),
        lambda: LaionCatalog(path, arguments={"bucket": value, "splits": value}),
        lambda: intake.open_catalog(path)["sub-01"](bucket=value),
        lambda: nested(bucket=value),
        lambda: nested(name=value, metadata={"x": value}),
        lambda: nested.configure_new(arguments={"bucket": value}),
        lambda: nested(bucket=value)(ttl=3),
    ):
        tried(lambda give=give: give().betas.to_dask())
        tried(lambda give=give: give()["ses-01"](roi="FFA1").to_dask())
        tried(lambda give=give: give()["sub-01"].betas.to_dask())
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("template", sampled(EXECUTE, keep=1))
def test_a_folder_with_such_a_name_is_read(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    """The value arrives as it was given: in the call, by a pickle, in what was printed or saved and opened again."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / TEMPLATES[template](Path("witness")).replace("/", "")
    folder.symlink_to(tiny)
    expected = open_betas("sub-01", roi="FFA1", bucket=tiny)
    catalog = open_catalog(bucket=folder)
    catalog.save(str(tmp_path / "saved.yaml"))
    source = catalog.betas(roi="FFA1")
    one, two = (
        write(tmp_path, text, name)
        for text, name in (
            (source.yaml(), "1.yaml"),
            (source(bucket=tiny, splits=None, mirror=folder).yaml(), "2.yaml"),
        )
    )
    for again in (
        source,
        intake.open_catalog(str(catalog_path())).betas(roi="FFA1", bucket=folder),
        catalog["sub-01"].betas(roi="FFA1"),
        pickle.loads(pickle.dumps(source)),
        pickle.loads(pickle.dumps(catalog)).betas(roi="FFA1"),
        intake.open_catalog(str(tmp_path / "saved.yaml")).betas(roi="FFA1"),
        intake.open_catalog(one).betas,
        intake.open_catalog(two).betas,
    ):
        xr.testing.assert_equal(again.to_dask(), expected)
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("template", sampled(TEMPLATES, keep=4))
def test_templates_without_a_catalog_are_plain_texts(tiny: Path, witness: Path, template: str) -> None:
    """Functions, drivers and readers of the second generation render nothing: no ROI has such a name."""
    text = TEMPLATES[template](witness)
    for read in (
        lambda: open_betas("sub-01", roi=text, bucket=tiny),
        lambda: BetasSource(subject="sub-01", roi=text, bucket=str(tiny)).to_dask(),
        lambda: open_catalog(bucket=tiny).betas(roi=text).to_dask(),
        lambda: BetasReader(subject="sub-01", roi=text, bucket=str(tiny)).read(),
        lambda: BetasReader(subject="sub-01", bucket=str(tiny))(roi=text).read(),
    ):
        with pytest.raises(ValueError, match="cannot be read"):
            read()
    assert not witness.exists()


@pytest.mark.parametrize(
    "text",
    [
        "{{ x }}",
        "a{{{b}}}",
        "{% raw %}",
        "{# #}",
        "{%{{{#",
        "}} %} #}",
        "{'{'}",
        "a\n",
        "a\r\nb",
        "{{ '{' }}",
        "{",
        "ü",
    ],
)
def test_what_is_shown_renders_to_the_text(text: str) -> None:
    """By Jinja itself, as Intake asks it."""
    rendered = Environment().from_string(shown({"x": [text]})["x"][0]).render({"x": "executed"})
    assert rendered == text


def test_a_value_that_holds_itself(source: Any) -> None:
    """Looked through without a recursion."""
    value: list[Any] = ["FFA1"]
    value.append(value)
    for make in (lambda: BetasSource(subject="sub-01", roi=value), lambda: source(roi=value)):
        with pytest.raises(TypeError, match="must be a string"):
            make()


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
    """Its trust model, for whatever driver: this is why values are sealed, and why foreign files are not to be opened.

    Should Intake get a sandbox one day, this fails, and the envelopes may go.
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
        expected = (DataIntegrityError, r"catalog\.yaml is not a catalog")
    opened = {"first": intake.open_catalog, "second": intake.from_yaml_file, "ours": LaionCatalog}[generation]
    with pytest.raises(expected[0], match=expected[1]):
        opened(path)
    assert not witness.exists()


# --- files of this package ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "while parsing"),
        ("", "No YAML"),
        ("sources: {}\nsources: {}\n", "duplicate key"),
        ("version: 2\nsources: {}\n", "V1"),
    ],
)
def test_a_damaged_file(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataIntegrityError, match=rf"(?s)catalog\.yaml is not a catalog.*{message}"):
        LaionCatalog(write(tmp_path, content))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataIntegrityError, match=r"catalog\.yaml"):
        LaionCatalog(str(path))


def test_a_folder_of_catalogs_with_a_template_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intake renders the folder of a catalog, so it is refused there."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "{{ lipsum.__globals__.os.mknod('witness') }}"
    folder.mkdir()
    for path in (write(folder, catalog_path().read_text()), folder / "catalog.yaml"):
        with pytest.raises(ValueError, match="contains a template, which Intake would"):
            LaionCatalog(path)
    assert not (tmp_path / "witness").exists()


def test_the_shipped_files_open(tiny: Path) -> None:
    for path in sorted(catalog_path().parent.glob("*.yaml")):
        if "v2" not in path.name:
            assert list(LaionCatalog(path, bucket=tiny))


def test_a_printed_source_opens(tiny: Path, tmp_path: Path) -> None:
    """Also with values of types that YAML does not know."""
    session = (np.int64(1), 2)
    printed = TrialsSource(subject=np.str_("sub-01"), session=session, bucket=tiny).yaml()
    assert "python" not in printed
    assert len(intake.open_catalog(write(tmp_path, printed)).laion_fmri_trials.read())


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


def test_words_in_a_parameter_of_the_whole_catalog_are_plain_texts(tmp_path: Path, witness: Path) -> None:
    """Intake imports what a parameter of its own names; in a process of its own, because an import would stay."""
    (tmp_path / "evil.py").write_text(f"open({str(witness)!r}, 'w')\nvalue = 3\n")
    path = catalog_path().with_name("laion_fmri.v2.yaml")
    code = f"""
import intake, pathlib
cat = intake.from_yaml_file({str(path)!r})
for text in ("func(evil:value)", "{{func(evil:value)}}", "import(evil:value)"):
    for value in (text, pathlib.Path(text)):
        try:
            cat(bucket_url=value).betas.read()
        except FileNotFoundError as error:
            print(error)
        try:
            cat(bucket_options={{"x": [text]}}, bucket_url="nowhere").betas.read()
        except FileNotFoundError as error:
            print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.count("There is no bucket or folder") == 12
    assert not witness.exists()


@pytest.mark.parametrize(
    "word", sampled([*WORDS, "data(x)", "env(HOME)", "{{x}}", "{bucket_url}", "a {0} {b.__class__}"], keep=3)
)
def test_a_folder_that_is_called_like_a_word(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """Read under this name: from a reader, from a catalog that holds it, and from that catalog's file."""
    monkeypatch.chdir(tmp_path)
    Path(word).symlink_to(tiny)
    reader = BetasReader(bucket=word, subject="sub-01", roi="FFA1", mirror=word)
    catalog = reader.to_cat("x")
    catalog.to_yaml_file(str(tmp_path / "saved.yaml"))
    again = intake.from_yaml_file(str(tmp_path / "saved.yaml"))
    expected = open_betas("sub-01", roi="FFA1", bucket=tiny)
    for one in (reader, reader(session="all"), pickle.loads(pickle.dumps(reader)), catalog["x"], again["x"]):
        xr.testing.assert_equal(one.read(), expected)
