"""What commands print: sizes, times, tables, what a terminal must not be sent; and the commands of the cache."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from intake_laion_fmri.cli.exits import CONTRADICTORY, DENIED, FAILED, NOT_FOUND, UNREACHABLE
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.cli.output import Size, Table, print_table, printable
from intake_laion_fmri.remote.cache import cache_info
from intake_laion_fmri.running.progress import duration, size


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments], prog_name="intake-laion-fmri")


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (1_173_854_083, "1.17 GB"),
        (5.5e12, "5.50 TB"),
        (3e15, "3000.00 TB"),
    ],
)
def test_sizes(n_bytes: float, text: str) -> None:
    """In the units of disks, which count in thousands."""
    assert size(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "00:00"), (0.4, "00:00"), (59.6, "01:00"), (3599, "59:59"), (90061, "25:01:01")]
)
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sub-01 é 日本 THINGS+", "sub-01 é 日本 THINGS+"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31m\r\t\x00", "\\x1b[31m\\r\\t\\x00"),
        ("\u202e\u200b\udc80", "\\u202e\\u200b\\udc80"),
    ],
)
def test_what_a_terminal_is_sent(text: str, shown: str) -> None:
    """Letters of any language, and nothing that it would obey or that hides."""
    assert printable(text) == shown


def test_a_table_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain numbers, lists with commas, a line for a row; nothing where there is none."""
    print_table(Table(("a", "b", "c"), [("x\ny\tz", Size(1_000_000), ["p", "q"]), ("", 1234567, [])], "row"))
    print_table(Table(("a",), []))
    assert capsys.readouterr().out == "row\tx\\ny\\tz\t1000000\tp,q\nrow\t\t1234567\t\n"


def test_the_help_of_the_whole() -> None:
    """Each command with a line of its own, in the order in which one needs them; variables and exit codes."""
    text = run("--help").stdout
    commands = re.findall(r"^  (\w+)  +\w", text, flags=re.MULTILINE)
    assert [name for name in commands if name.islower()][:9] == [
        "info",
        "ls",
        "mirror",
        "stimuli",
        "store",
        "catalog",
        "doctor",
        "demo",
        "cache",
    ]
    for told in ("LAION_FMRI_NETWORK", "LAION_FMRI_MIRROR", "130", "141", "Exit codes:", "Examples:"):
        assert told in text


@pytest.mark.parametrize(
    "command",
    [
        ["info"],
        ["ls"],
        ["mirror"],
        ["mirror", "verify"],
        ["mirror", "status"],
        ["store", "build"],
        ["store", "verify"],
        ["store", "info"],
        ["store", "catalog"],
        ["catalog", "write"],
        ["doctor"],
        ["catalog", "check"],
        ["cache", "info"],
        ["cache", "clear"],
        ["config"],
    ],
    ids=" ".join,
)
def test_help_of_each(command: list[str]) -> None:
    """Examples, the same exit codes everywhere, and a `--json` wherever something is told."""
    text = run(*command, "--help").stdout
    for told in ("Examples:", "Exit codes:", f"  {UNREACHABLE}  ", f"  {DENIED}  ", f"  {NOT_FOUND}  "):
        assert told in text
    assert f"  {CONTRADICTORY}  " in text
    assert ("--json" in text) == (command != ["store", "catalog"])
    assert "\\b" not in text
    _, _, rest = text.partition("Examples:\n")
    examples = rest.partition("\n\n")[0].splitlines()
    assert examples
    assert {len(line) - len(line.lstrip()) for line in examples} == {4}


class TestCache:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A cache with something in it."""
        monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path / "cache"))
        path = tmp_path / "cache/laion-fmri-cache/objects" / (64 * "a")
        path.parent.mkdir(parents=True)
        (tmp_path / "cache/laion-fmri-cache/CACHEDIR.TAG").write_text("# created by intake-laion-fmri")
        path.write_bytes(bytes(1500))
        return path

    def test_what_is_in_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", "3000000")
        result = run("cache", "info")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"{tmp_path / 'cache'}: 1 files, 1.5 kB of at most 3.0 MB.\n"
        found = json.loads(run("cache", "info", "--json").stdout)
        assert found == {"folder": str(tmp_path / "cache"), "files": 1, "bytes": 1500, "limit": 3_000_000}

    def test_cleared(self, tmp_path: Path, cache: Path) -> None:
        result = run("cache", "clear", "--yes")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"{tmp_path / 'cache'}: 1 files removed, 1.5 kB.\n"
        assert not cache.exists()
        assert cache_info().n_files == 0
        assert json.loads(run("cache", "clear", "--json").stdout)["files"] == 0, "nothing to ask about"

    def test_nobody_to_ask(self, cache: Path) -> None:
        """A script has to say it."""
        result = run("cache", "clear")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "add --yes" in result.stderr
        assert cache.is_file()

    def test_of_small_files(self, s3: Any, tmp_path: Path) -> None:
        """What a build from a server has read is in it."""
        before = cache_info().n_files
        reach = ["--bucket", s3.url, "--endpoint-url", s3.endpoint, "--roi", "FFA1"]
        result = run("store", "build", "--to", tmp_path / "store", "--subject", "01", "--session", 1, *reach)
        assert result.exit_code == 0, result.output
        assert json.loads(run("cache", "info", "--json").stdout)["files"] > before

    @pytest.mark.parametrize("limit", ["x", "-1"])
    def test_a_limit_that_is_none(self, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", limit)
        result = run("cache", "info")
        assert result.exit_code in (FAILED, 2), result.output
        assert "LAION_FMRI_CACHE_LIMIT" in result.stderr
