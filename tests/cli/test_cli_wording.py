"""What the commands say is in their own words: options, not Python's arguments; and a line, never a traceback."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from intake_laion_fmri.cli.main import main
from intake_laion_fmri.cli.options import bucket_options, selection_options
from intake_laion_fmri.cli.wording import cli_message


@click.command()
@bucket_options
@selection_options
@click.option("--dtype")
@click.argument("message")
def say(message: str, **options: object) -> None:
    click.echo(cli_message(message))


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("name it with mirror= or LAION_FMRI_MIRROR", "name it with --mirror or LAION_FMRI_MIRROR"),
        ("read mirror='/data/a copy'.", "read --mirror '/data/a copy'."),
        ("read mirror='/data/copy', or wait", "read --mirror /data/copy, or wait"),
        ("mirror_only=True needs a mirror", "--mirror-only needs a mirror"),
        ("choose dtype='float32'.", "choose --dtype float32."),
        ("leave session= out, or sessions=2", "leave --session out, or --session 2"),
        ("with storage_options={'anon': False}", "with --storage-option anon=False"),
        ("with storage_options={'headers': {'A': 'b'}}.", "with --storage-option headers={'A': 'b'}."),
        ("(storage_options=)", "(--storage-option)"),
        ("storage_options['anon'] must be True", "--storage-option anon must be True"),
        ("Unknown option of storage_options: 'x'", "Unknown option of --storage-option: 'x'"),
        ("Check the argument 'bucket' and more", "Check --bucket and more"),
        ("dtype must be a string", "--dtype must be a string"),
        ("Valid: endpoint_url, key", "Valid: endpoint_url, key"),
        ("/data/storage_options must be there", "/data/storage_options must be there"),
        # No option of this command, and no argument at all.
        ("or fallback=True", "or fallback=True"),
        ("/data/session=01/x.nii is absent, 'bucket=1'", "/data/session=01/x.nii is absent, 'bucket=1'"),
        ("at https://host/x?session=3", "at https://host/x?session=***"),
        ("my-session=3, resubject=4", "my-session=3, resubject=4"),
    ],
)
def test_arguments_are_told_as_options(message: str, line: str) -> None:
    """Values as a shell takes them; the user's own words stay."""
    result = CliRunner().invoke(say, [message])
    assert result.output == f"{line}\n"


def test_outside_a_command_nothing_changes() -> None:
    assert cli_message("read mirror='/copy'\x1b") == "read mirror='/copy'\\x1b"


WRONG = [
    (["info", "--bucket", "{tiny}", "--mirror-only"], 2, "--mirror"),
    (["info", "--bucket", "{file}"], None, "{file}"),
    (["info", "--bucket", "{tmp}/absent"], 5, "absent"),
    (["info", "--bucket", "{tiny}", "--subject", "sub-09"], 2, "sub-09"),
    (["ls", "--bucket", "{tiny}", "--session", "x y"], 2, "x y"),
    (["info", "--bucket", "s3://laion-fmri", "--storage-option", "nonsense"], 2, "key=value"),
    (["info", "--bucket", "nosuch://place"], None, "nosuch"),
    (["info", "--bucket", "{tiny}", "--mirror", "{tmp}/absent"], 5, "--mirror"),
    (["info", "--bucket", "{tiny}", "--mirror", "{file}"], 2, "--mirror"),
    (["store", "build", "--bucket", "{tiny}", "--to", "{file}"], None, "{file}"),
    (["store", "build", "--bucket", "{tiny}", "--to", "{tmp}", "--subject", "sub-01"], None, "{tmp}"),
    (["store", "build", "--bucket", "{tiny}", "--to", "{tmp}/new", "--keep-bits", "5"], 2, "--keep-bits 5"),
    (["store", "build", "--bucket", "{tiny}", "--to", "{tmp}/new", "--shard-voxels", "7"], 2, "--shard-voxels 7"),
    (["store", "build", "--bucket", "{tiny}", "--to", "{tmp}/new", "--roi", "V9"], 2, "V9"),
    (["store", "info", "{tmp}/absent"], 5, "absent"),
    (["store", "info", "{tiny}"], None, "{tiny}"),
    (["store", "verify", "{file}"], None, "{file}"),
    (["store", "catalog", "{tmp}/absent"], 5, "absent"),
    (["mirror", "verify", "{tmp}/absent"], None, "absent"),
    (["mirror", "verify", "{file}"], 2, "{file}"),
    (["mirror", "--bucket", "{tiny}", "--to", "{tiny}"], None, "{tiny}"),
    (["demo", "{tmp}", "--scale", "tiny"], 1, "{tmp}"),
]


@pytest.mark.parametrize(
    ("words", "code", "named"), WRONG, ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else ""
)
def test_wrong_input_is_answered_in_a_line(
    words: list[str], code: int | None, named: str, tiny: Path, tmp_path: Path
) -> None:
    """No traceback, an exit code that says which kind, what was given, and no Python."""
    file = tmp_path / "file.txt"
    file.write_text("x")
    places = {"tiny": str(tiny), "file": str(file), "tmp": str(tmp_path)}
    result = CliRunner().invoke(main, [word.format(**places) for word in words])
    assert isinstance(result.exception, SystemExit), (result.exception, result.exc_info)
    assert result.exit_code in ({code} if code is not None else {1, 2, 5, 6})
    assert named.format(**places) in result.stderr.replace("\n", " ")
    for python in (
        "Traceback",
        "bucket=",
        "mirror=",
        "storage_options",
        "store_options",
        "keep_bits",
        "session=",
        "argument '",
    ):
        assert python not in result.stderr
    assert file.read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
