"""The command line: exit codes, what is said, and what is left on disk."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from intake_laion_fmri import __version__
from intake_laion_fmri.cli.main import main


def run(*arguments: object, **options: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="intake-laion-fmri", **options)


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Path → size and time of change, of everything below a folder."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")
    }


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_refused(result: Result, *told: str) -> None:
    """A message on stderr and an exit code; no traceback, and nothing on stdout."""
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert "Traceback" not in result.output
    for text in told:
        assert text in result.stderr


def test_demo_writes_the_bucket_and_says_where(tmp_path, tiny):
    """Missing parents are made; the bytes are those of the function."""
    target = tmp_path / "new" / "bucket"
    result = run("demo", target, "--scale", "tiny")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{target}: a synthetic bucket of scale 'tiny'.\n"
    assert result.stderr == "", "no progress bar for what is quick, or not on a terminal"
    assert contents(target) == contents(tiny)
    assert [path.name for path in target.parent.iterdir()] == ["bucket"], "nothing unfinished is left"


def test_second_run_writes_nothing(own_tiny):
    before = tree(own_tiny)
    result = run("demo", own_tiny, "--scale", "tiny")
    assert result.exit_code == 0
    assert result.stdout == f"{own_tiny}: a synthetic bucket of scale 'tiny'.\n"
    assert tree(own_tiny) == before


def test_path_may_be_relative(tmp_path, monkeypatch):
    """The answer names the place in full."""
    monkeypatch.chdir(tmp_path)
    result = run("demo", "demo-bucket", "--scale", "tiny")
    assert result.stdout.startswith(f"{tmp_path / 'demo-bucket'}: ")
    assert (tmp_path / "demo-bucket" / "dataset_description.json").is_file()


def test_other_seed_replaces_an_older_demo(own_tiny, tiny):
    result = run("demo", own_tiny, "--scale", "tiny", "--seed", "1")
    assert result.exit_code == 0
    new, old = contents(own_tiny), contents(tiny)
    assert set(new) == set(old)
    betas = next(key for key in new if "ses-01_" in str(key) and "stat-effect" in str(key) and "nii" in str(key))
    assert new[betas] != old[betas]


def test_folder_of_something_else_is_left_alone(tmp_path):
    """The remedy is named; no file is touched."""
    (tmp_path / "thesis.tex").write_text("years of work")
    before = tree(tmp_path)
    result = run("demo", tmp_path, "--scale", "tiny")
    assert_refused(result, f"Error: {tmp_path} is not a demo bucket", "thesis.tex", "Give a path that does not exist")
    assert result.exit_code == 1
    assert tree(tmp_path) == before


def test_demo_bucket_with_a_file_of_the_user_is_left_alone(own_tiny):
    (own_tiny / "notes.txt").write_text("mine")
    before = tree(own_tiny)
    result = run("demo", own_tiny, "--scale", "tiny", "--seed", "1")
    assert_refused(result, f"Error: {own_tiny} is another demo bucket", "Choose another path")
    assert tree(own_tiny) == before


def test_path_that_is_a_file_is_refused(tmp_path):
    target = tmp_path / "file"
    target.write_text("x")
    assert_refused(run("demo", target, "--scale", "tiny"), "'PATH'", str(target), "is a file")
    assert target.read_text() == "x"


def test_path_below_a_file_is_refused(tmp_path):
    """An error of the operating system is told in a line."""
    (tmp_path / "file").write_text("x")
    assert_refused(run("demo", tmp_path / "file" / "bucket", "--scale", "tiny"), "Error: ", str(tmp_path / "file"))


def test_unknown_scale_names_the_valid_ones(tmp_path):
    result = run("demo", tmp_path / "bucket", "--scale", "huge")
    assert_refused(result, "'--scale'", "'huge'", "'tiny', 'small', 'session'", "for help")
    assert result.exit_code == 2
    assert not (tmp_path / "bucket").exists()


@pytest.mark.parametrize("seed", ["-1", "x", "1.5", ""])
def test_seed_that_is_none_is_refused(seed, tmp_path):
    """A negative one too, before anything is written."""
    result = run("demo", tmp_path / "bucket", "--scale", "tiny", "--seed", seed)
    assert_refused(result, "'--seed'", seed)
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo"], "Missing argument 'PATH'"),
        (["demo", "bucket", "--sclae", "tiny"], "--scale"),
        (["demo", "bucket", "other"], "other"),
        (["demos", "bucket"], "'demos'"),
        (["--verson"], "--version"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_typing_errors_are_usage_errors(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert_refused(result, told, "Usage: intake-laion-fmri")
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_help_of_demo_shows_an_example_to_copy(flag, width):
    """Line by line as it is to be typed, whatever the width of the terminal."""
    result = run("demo", flag, terminal_width=width)
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "intake-laion-fmri demo demo-bucket" in lines
    after = lines[lines.index("intake-laion-fmri demo demo-bucket") + 1]
    assert re.fullmatch(r'LAION_FMRI_BUCKET=demo-bucket python -c "import intake; print\(intake\.cat\..+\)"', after)
    assert "\\b" not in result.stdout
    for scale in ("tiny", "small", "session"):
        assert f"{scale}:" in result.stdout
    assert "[default: small]" in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_the_commands(flag):
    result = run(flag)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: intake-laion-fmri [OPTIONS] COMMAND")
    assert re.search(r"^  demo +Write a synthetic bucket", result.stdout, flags=re.MULTILINE)


def test_without_arguments_the_help_is_shown():
    result = run()
    assert result.exit_code in (0, 2)  # 2 from click 8.2 on
    assert "Usage: intake-laion-fmri" in result.output


def test_version_is_that_of_the_package():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"intake-laion-fmri, version {__version__}\n")


def test_installed_command_works_without_a_warning(tmp_path, python_environment):
    """The script that pip puts on the path, as a real process: it writes, and then refuses, with exit codes."""
    command = Path(sysconfig.get_path("scripts")) / "intake-laion-fmri"
    target = tmp_path / "bucket"

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = python_environment | {"PYTHONWARNINGS": "error::UserWarning,error::ResourceWarning"}
        return subprocess.run(
            [command, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )

    written = call("demo", "bucket", "--scale", "tiny")
    assert (written.returncode, written.stderr) == (0, "")
    assert written.stdout == f"{target}: a synthetic bucket of scale 'tiny'.\n"
    assert (target / "participants.tsv").is_file()

    refused = call("demo", ".", "--scale", "tiny")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: {tmp_path} is not a demo bucket")
    assert len(refused.stderr.splitlines()) == 1
