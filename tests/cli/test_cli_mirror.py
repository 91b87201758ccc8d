"""The commands that copy a part of the bucket, check the copy, and tell what is in it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from intake_laion_fmri import layout
from intake_laion_fmri.cli.exits import CONTRADICTORY, DENIED, DRIFT, FAILED, NOT_FOUND, UNREACHABLE
from intake_laion_fmri.cli.main import main

USAGE = 2
OWN = ".laion-fmri"


def run(*arguments: object) -> Result:
    words = ["mirror", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(main, words, prog_name="intake-laion-fmri")


def done(*arguments: object, code: int = 0) -> str:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout


def keys(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and OWN not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A mirror of the first session."""
    folder = tmp_path / "copy"
    done("--bucket", tiny, "--to", folder, "--subject", "01", "--session", 1)
    return folder


def a_file(copy: Path) -> Path:
    return copy / layout.key("trials", subject="sub-01", session="ses-01")


class TestMirror:
    def test_without_a_sub_command(self, tiny: Path, tmp_path: Path) -> None:
        """What there is to do, each file as it comes, and what was done; the same files as in the bucket."""
        folder = tmp_path / "copy"
        first, *middle, last = done("--bucket", tiny, "--to", folder, "--subject", "01").splitlines()
        assert first.startswith(f"{tiny}: {len(middle)} files, ")
        assert f"0 are there, {len(middle)} to fetch, " in first
        assert set(middle) == keys(folder)
        assert last.startswith(f"{folder}: {len(middle)} files complete, ")
        assert all((folder / key).read_bytes() == (tiny / key).read_bytes() for key in middle)
        assert not [key for key in middle if "ses-31" in key or "sub-03" in key]

    def test_again(self, tiny: Path, copy: Path) -> None:
        """Nothing is fetched, and nothing is said of single files; what is gone is fetched."""
        options = ["--bucket", tiny, "--to", copy, "--subject", "01", "--session", 1]
        _, last = done(*options).splitlines()
        assert "; 0 fetched now." in last
        a_file(copy).unlink()
        _, key, last = done(*options).splitlines()
        assert (copy / key) == a_file(copy)
        assert "; 1 fetched now: " in last

    def test_what_the_user_has_put_there(self, tiny: Path, copy: Path) -> None:
        """It stays, is told with its name, and the exit code tells that the mirror is not complete."""
        a_file(copy).write_text("my own")
        options = ["--bucket", tiny, "--to", copy, "--subject", "01", "--session", 1]
        result = run(*options)
        assert result.exit_code == CONTRADICTORY, result.output
        key = a_file(copy).relative_to(copy).as_posix()
        assert f"left alone: {key!r} (a file that was changed since it was copied)" in result.stderr
        assert a_file(copy).read_text() == "my own"
        found = json.loads(run(*options, "--json").stdout)
        assert [one["key"] for one in found["left_alone"]] == [key]

    def test_filters(self, tiny: Path, tmp_path: Path) -> None:
        folder = tmp_path / "copy"
        done("--bucket", tiny, "--to", folder, "--kind", "trials", "--kind", "betas", "--session", "ses-02")
        names = {key.rsplit("/")[-1] for key in keys(folder) if key.endswith((".tsv", ".gz")) and "/" in key}
        assert names == {
            layout.key(kind, subject=subject, session="ses-02").rsplit("/")[-1]
            for kind in ("trials", "betas")
            for subject in ("sub-01", "sub-03")
        }

    def test_entities(self, tiny: Path, tmp_path: Path) -> None:
        """With or without their prefixes, several of them; with the subject-level files alone."""
        folder = tmp_path / "copy"
        options = ["--session", "averages", "--desc", "R2mean", "--desc", "desc-Noiseceiling4rep"]
        done("--bucket", tiny, "--to", folder, "--subject", "03", *options, "--extension", "nii.gz", "--space", "T1w")
        stats = {key.rsplit("_desc-")[-1] for key in keys(folder) if layout.BETAS_ROOT in key}
        assert stats == {"R2mean_statmap.nii.gz", "Noiseceiling4rep_statmap.nii.gz"}

    def test_whatever_the_environment_says_of_reading(
        self, tiny: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A mirror to read from, and from nothing else, is no source of another mirror."""
        monkeypatch.setenv("LAION_FMRI_MIRROR", str(copy))
        monkeypatch.setenv("LAION_FMRI_MIRROR_ONLY", "1")
        done("--bucket", tiny, "--to", tmp_path / "other", "--kind", "trials")
        assert len([key for key in keys(tmp_path / "other") if key.endswith("_trials.tsv")]) == 6
        listing = CliRunner().invoke(main, ["ls", "--kind", "trials", "--bucket", str(tiny)])
        assert listing.stdout.count("_trials.tsv") == 1

    def test_from_s3(self, s3: Any, tiny: Path, tmp_path: Path) -> None:
        folder = tmp_path / "copy"
        done("--bucket", s3.url, "--endpoint-url", s3.endpoint, "--to", folder, "--kind", "trials", "--jobs", 2)
        assert all((folder / key).read_bytes() == (tiny / key).read_bytes() for key in keys(folder))

    def test_told_beforehand(self, tiny: Path, tmp_path: Path) -> None:
        """Number and size of each kind; nothing is written."""
        folder = tmp_path / "copy"
        options = ["--bucket", tiny, "--to", folder, "--subject", "01", "--dry-run"]
        first, *rows = done(*options).splitlines()
        assert " free in " in first
        kinds = {row.split("\t")[0]: int(row.split("\t")[1]) for row in rows}
        assert kinds["betas"] >= 3
        plan = json.loads(done(*options, "--json"))
        assert plan["files"] == sum(kinds.values()) == len(plan["fetch"])
        assert plan["bytes"] == plan["bytes_to_fetch"] == sum(one["bytes"] for one in plan["fetch"])
        assert plan["held_out"] > 0
        assert plan["free_bytes"] > 0
        assert not folder.exists()

    def test_for_machines(self, tiny: Path, tmp_path: Path) -> None:
        """One object on stdout, also where nothing was to be done."""
        options = ["--bucket", tiny, "--to", tmp_path / "copy", "--kind", "trials", "--json"]
        first, second = json.loads(done(*options)), json.loads(done(*options))
        assert first["fetched"] == first["files"] == second["complete"] > 0
        assert first["bytes_received"] == first["bytes"]
        assert (second["fetched"], second["bytes_received"]) == (0, 0)

    def test_what_is_left_out_and_the_licence(self, tiny: Path, tmp_path: Path) -> None:
        """On stderr; the notice once for a mirror, never for a dry run, and nobody is asked."""
        options = ["--bucket", tiny, "--to", tmp_path / "copy", "--kind", "trials"]
        assert "CC0" not in run(*options, "--dry-run").stderr
        first, second = run(*options), run(*options)
        assert "held-out" in first.stderr
        assert "CC0" in first.stderr
        assert "CC0" not in second.stderr + first.stdout

    def test_a_key_that_leads_out(self, own_tiny: Path, tmp_path: Path) -> None:
        """It is left out, told, and not forgotten in the exit code."""
        folder = own_tiny / layout.BETAS_ROOT / "sub-01" / "ses-01" / "func"
        (folder / "a\\..\\b.json").write_text("{}")
        (folder / "c\x1b[2J.json").write_text("{}")
        options = ["--bucket", own_tiny, "--to", tmp_path / "copy", "--subject", "01", "--session", 1]
        result = run(*options)
        assert result.exit_code == CONTRADICTORY, result.output
        assert result.stderr.count("is excluded: ") == 2
        assert "\x1b" not in result.output
        assert a_file(tmp_path / "copy").is_file(), "the others are there"
        assert len(json.loads(run(*options, "--json").stdout)["refused"]) == 2

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            ([], USAGE, "Missing option '--to'"),
            (["--to", "{to}", "--subject", "sub-02"], USAGE, "Did you mean"),
            (["--to", "{to}", "--session", "29"], USAGE, "Unknown session"),
            (["--to", "{to}", "--kind", "beta"], USAGE, "'betas'"),
            (["--to", "{to}", "--desc", "R2men"], USAGE, "R2mean"),
            (["--to", "{to}", "--jobs", "0"], USAGE, "--jobs"),
            (["--to", "s3://copy/x"], USAGE, "Expected a local folder"),
            (["--to", "{tiny}/README"], USAGE, "is a file"),
            (["--to", "{to}", "--session", "31"], DENIED, "held out"),
            (["--to", "{to}", "--suffix", "stimuli", "--include-stimuli"], DENIED, "data use agreement"),
            (["--to", "{to}", "--bucket", "/nonexistent"], NOT_FOUND, "There is no bucket or folder"),
            (["--to", "/proc/nope/copy"], FAILED, "/proc/nope"),
            (["--to", "{to}", "verify", "{to}"], USAGE, "--to is an option of copying"),
            (["check", "{to}"], USAGE, "No such command 'check'"),
        ],
        ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
    )
    def test_refused(self, arguments: list[str], code: int, told: str, tiny: Path, tmp_path: Path) -> None:
        """A line, an exit code for each, and nothing is written."""
        words = ["--bucket", str(tiny), *(word.format(tiny=tiny, to=tmp_path / "copy") for word in arguments)]
        result = run(*words)
        assert result.exit_code == code, result.output
        assert isinstance(result.exception, SystemExit), result.exception
        assert told in " ".join(result.stderr.split())
        assert list(tmp_path.iterdir()) == []

    def test_unreachable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAION_FMRI_NETWORK", "attempts=1,total_seconds=2")
        result = run("--bucket", "s3://x", "--endpoint-url", "http://127.0.0.1:9", "--to", tmp_path / "copy")
        assert (result.exit_code, result.stdout) == (UNREACHABLE, "")
        assert "http://127.0.0.1:9" in result.stderr


class TestVerify:
    def test_all_is_well(self, copy: Path) -> None:
        assert done("verify", copy) == f"{copy}: {len(keys(copy))} complete.\n"
        found = json.loads(done("verify", copy, "--json"))
        assert found["counts"] == {"complete": len(keys(copy))}
        assert {one["key"] for one in found["files"]} == keys(copy)

    def test_damaged_and_gone(self, tiny: Path, copy: Path) -> None:
        """Each in a line; damage outweighs absence; mirroring again mends both."""
        path, kept = a_file(copy), a_file(copy).read_bytes()
        path.unlink()
        gone, _ = done("verify", copy, code=DRIFT).splitlines()
        assert gone.startswith(f"{path.relative_to(copy).as_posix()}: missing: ")
        state = next(other for other in sorted(keys(copy)) if other.endswith(".nii.gz"))
        content, time = bytearray((copy / state).read_bytes()), (copy / state).stat().st_mtime_ns
        content[len(content) // 2] ^= 4
        (copy / state).write_bytes(content)
        os.utime(copy / state, ns=(time, time))
        text = done("verify", copy, code=CONTRADICTORY)
        assert f"{state}: damaged: " in text
        assert text.splitlines()[-1].endswith(", 1 damaged, 1 missing.")
        assert json.loads(done("verify", copy, "--json", "--kind", "trials", code=DRIFT))["counts"]["missing"] == 1
        done("--bucket", tiny, "--to", copy, "--subject", "01", "--session", 1)
        done("verify", copy)
        assert path.read_bytes() == kept

    def test_of_a_part(self, copy: Path) -> None:
        assert done("verify", copy, "--subject", "01", "--kind", "anatomy") == f"{copy}: 4 complete.\n"
        result = run("verify", copy, "--subject", "09", "--kind", "anatomy")
        assert (result.exit_code, result.stdout) == (NOT_FOUND, "")
        assert "nothing was verified" in result.stderr

    def test_not_there(self, tmp_path: Path) -> None:
        for command in ("verify", "status"):
            result = run(command, tmp_path / "none")
            assert (result.exit_code, result.stdout) == (NOT_FOUND, "")
            assert "There is no mirror" in result.stderr
        (tmp_path / "empty").mkdir()
        assert "nothing was verified" in run("verify", tmp_path / "empty").stderr
        done("verify", tmp_path / "empty", code=NOT_FOUND)
        (tmp_path / "empty" / "mine.txt").write_text("x")
        done("verify", tmp_path / "empty", code=NOT_FOUND)
        for command in ("verify", "status"):
            result = run(command)
            assert result.exit_code == USAGE


class TestStatus:
    def test_what_is_there(self, copy: Path) -> None:
        rows = [line.split("\t") for line in done("status", copy).splitlines()]
        assert rows[0][:3] == ["subject", "sub-01", "ses-01"]
        assert "betas 2" in rows[0][3].split(",")
        assert sum(int(row[4]) for row in rows) == len(keys(copy))
        assert sum(int(row[5]) for row in rows) == sum((copy / key).stat().st_size for key in keys(copy))

    def test_what_is_not(self, copy: Path) -> None:
        """Files that have gone, and files that are nobody's."""
        a_file(copy).unlink()
        (copy / "notes").mkdir()
        (copy / "notes" / "mine.txt").write_text("x")
        rows = [line.split("\t") for line in done("status", copy).splitlines()]
        assert ["missing", a_file(copy).relative_to(copy).as_posix()] in rows
        assert ["unknown", "notes/mine.txt"] in rows
        found = json.loads(done("status", copy, "--json"))
        assert found["to"] == str(copy)
        assert found["missing"] == [a_file(copy).relative_to(copy).as_posix()]

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        """One valid object, also where there is nothing."""
        assert done("status", tmp_path) == ""
        assert json.loads(done("status", tmp_path, "--json"))["subjects"] == []


def test_reading_through_it(tiny: Path, copy: Path, tmp_path: Path, own_tiny: Path) -> None:
    """Commands that read a bucket take a mirror: a store is built from it alone, and checked against it."""
    command = ["store", "build", "--to", str(tmp_path / "store"), "--subject", "01", "--session", "1"]
    alone = ["--mirror", str(copy), "--mirror-only"]
    result = CliRunner().invoke(main, [*command, *alone])
    assert result.exit_code == 0, result.output
    against = ["store", "verify", str(tmp_path / "store"), "--against-source", *alone]
    result = CliRunner().invoke(main, against)
    assert (result.exit_code, result.stdout) == (0, "sub-01 ses-01: ok\n"), result.output
    result = CliRunner().invoke(main, [*command[:-1], "2", *alone])
    assert result.exit_code in (USAGE, NOT_FOUND), result.output
    shutil.rmtree(own_tiny / layout.ROIS_ROOT)
    result = CliRunner().invoke(main, ["catalog", "check", "--mirror", str(copy), "--mirror-only", "--json"])
    assert result.exit_code == DRIFT
    assert json.loads(result.stdout)["changes"]


@pytest.mark.parametrize("command", [[], ["verify"], ["status"]], ids=str)
def test_help(command: list[str]) -> None:
    """Examples to copy, and every exit code."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert any(line.startswith(" ".join(["intake-laion-fmri mirror", *command])) for line in lines)
    codes = [line.split("  ")[0] for line in lines[lines.index("Exit codes:") + 1 :]]
    assert codes[:7] == [str(code) for code in (0, 1, 2, UNREACHABLE, DENIED, NOT_FOUND, CONTRADICTORY)]
    assert "\\b" not in result.stdout
    assert os.linesep not in codes
