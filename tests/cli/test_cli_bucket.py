"""The commands that tell what a bucket holds: what is said, to whom, and how they end."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from intake_laion_fmri import layout
from intake_laion_fmri.cli.exits import CONTRADICTORY, DENIED, NOT_FOUND, UNREACHABLE
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.config import NetworkPolicy
from intake_laion_fmri.discovery import get_categories, get_rois, inventory
from intake_laion_fmri.mirror import mirror_bucket

USAGE = 2


def run(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(main, words, prog_name="intake-laion-fmri")


def lines(*arguments: object) -> list[list[str]]:
    """Run a command that must succeed in a pipe; return the fields of its lines."""
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def as_json(*arguments: object, code: int = 0) -> Any:
    """Run a command that must print one JSON object and nothing else."""
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (code, ""), result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def refused(code: int, told: str, *arguments: object) -> str:
    """Run a command that must fail with a line on stderr; return what it says."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert told in result.stderr
    assert "Error: " in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def copy(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror of the first session; not to be written to."""
    folder = tmp_path_factory.mktemp("mirrors") / "copy"
    mirror_bucket(folder, bucket=tiny, subjects="sub-01", sessions=1)
    return folder


class TestInfo:
    def test_a_line_for_each_subject(self, tiny: Path) -> None:
        """Subject, public and held-out sessions, ROIs, of which category, objects, bytes."""
        (first, second) = lines("info", "--bucket", tiny)
        assert first[:4] == ["sub-01", "3", "1", "40"]
        assert second[:4] == ["sub-03", "3", "1", "43"]
        categories = dict(one.rsplit(" ", 1) for one in second[4].split(","))
        assert categories["face"] == str(len(get_rois("sub-03", "face", bucket=tiny)))
        assert sorted(categories) == get_categories("sub-03", bucket=tiny)
        sizes = [path.stat().st_size for path in tiny.rglob("*") if "sub-01" in path.parts and path.is_file()]
        splits = [path.stat().st_size for path in (tiny / layout.SPLITS_ROOT).rglob("*") if path.is_file()]
        assert int(first[6]) <= sum(sizes)
        assert int(first[5]) > 200
        assert splits, "these belong to no subject"

    def test_more_of_a_subject(self, tiny: Path) -> None:
        """Each session, ROI and group of objects in a line."""
        rows = lines("info", "--bucket", tiny, "--subject", "1")
        sessions = {row[2]: row[3] for row in rows if row[0] == "session"}
        assert sessions == {"ses-01": "public", "ses-02": "public", "ses-03": "public", "ses-31": "held out"}
        assert sorted(row[3] for row in rows if row[0] == "roi") == get_rois("sub-01", bucket=tiny)
        groups = {row[2]: int(row[3]) for row in rows if row[0] == "group"}
        assert set(groups) <= set(layout.GROUPS)
        assert {row[1] for row in rows} == {"sub-01"}
        assert sum(groups.values()) == int(lines("info", "--bucket", tiny)[0][5])

    def test_for_machines(self, tiny: Path) -> None:
        found = as_json("info", "--bucket", tiny)
        assert found["bucket"] == str(tiny)
        assert [one["subject"] for one in found["subjects"]] == ["sub-01", "sub-03"]
        assert found["bytes"] == sum(one["bytes"] for one in found["subjects"])
        (one,) = as_json("info", "--bucket", tiny, "--subject", "sub-03")["subjects"]
        assert [session["access"] for session in one["sessions"]] == ["public"] * 3 + ["held out"]
        assert [roi["roi"] for roi in one["rois"] if roi["category"] == "face"] == get_rois("03", "face", bucket=tiny)
        assert "mirror" not in one

    def test_from_s3(self, s3: Any, tiny: Path) -> None:
        assert lines("info", "--bucket", s3.url, "--endpoint-url", s3.endpoint) == lines("info", "--bucket", tiny)

    def test_the_bucket_of_the_environment(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny))
        assert len(lines("info")) == 2

    def test_a_bucket_filled_in_part(self, own_tiny: Path) -> None:
        """A warning on stderr, and the rest."""
        shutil.rmtree(own_tiny / layout.ROIS_ROOT / "sub-03")
        result = run("info", "--bucket", own_tiny)
        assert result.exit_code == 0
        assert result.stderr == f"Warning: {own_tiny} is incomplete: {layout.ROIS_ROOT} has no sub-03.\n"
        assert [line.split("\t")[3] for line in result.stdout.splitlines()] == ["40", "0"]

    def test_asked_again(self, own_tiny: Path) -> None:
        """The bucket is asked each time, in one process too."""
        assert len(lines("info", "--bucket", own_tiny)) == 2
        for tree in (layout.BETAS_ROOT, layout.ROIS_ROOT):
            shutil.rmtree(own_tiny / tree / "sub-03")
        assert len(lines("info", "--bucket", own_tiny)) == 1

    def test_with_a_mirror(self, tiny: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """How much of each subject is there; and all that is there, without the bucket."""
        (first, second) = lines("info", "--bucket", tiny, "--mirror", copy)
        assert 0 < int(first[7]) < int(first[6])
        assert second[7] == "0"
        (one,) = as_json("info", "--mirror", copy, "--mirror-only", "--subject", "01")["subjects"]
        assert one["mirror"]["objects"] == one["objects"]
        assert [session["session"] for session in one["sessions"]] == ["ses-01"]
        monkeypatch.setenv("LAION_FMRI_MIRROR", str(copy))
        assert lines("info", "--bucket", tiny) == [first, second]


class TestLs:
    def test_everything_that_can_be_read(self, tiny: Path) -> None:
        """What `discovery.inventory` lists, and what lies beside it."""
        rows = lines("ls", "--bucket", tiny)
        listed = {key: int(size) for size, _, _, key in rows}
        known = inventory(bucket=tiny)
        assert dict(zip(known.key, known.bytes, strict=True)).items() <= listed.items()
        assert listed == {key: (tiny / key).stat().st_size for key in listed}
        assert [row[3] for row in rows] == sorted(listed)
        held_out = {row[3] for row in rows if row[2] == "held out"}
        assert held_out >= set(known.key[known.held_out])
        assert all("/ses-31/" in key for key in held_out)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--subject", "01", "--session", "2", "--kind", "trials"], 2),
            (["--subject", "01", "--subject", "3", "--session", "ses-01", "--kind", "trials"], 4),
            (["--session", "averages", "--kind", "r2"], 2),
            (["--session", "1", "--session", "averages", "--kind", "r2", "--subject", "3"], 2),
            (["--kind", "anatomy", "--subject", "sub-01"], 12),
        ],
    )
    def test_filters(self, options: list[str], expected: int, tiny: Path) -> None:
        """Subjects, sessions and kinds; each of them several times."""
        assert len(lines("ls", "--bucket", tiny, *options)) == expected

    def test_a_prefix(self, tiny: Path) -> None:
        """Anything, of folders and of names; with filters too."""
        assert [row[3] for row in lines("ls", "participants", "--bucket", tiny)] == [
            "participants.json",
            "participants.tsv",
        ]
        folder = f"{layout.ROIS_ROOT}/sub-01/face/"
        keys = {row[3] for row in lines("ls", folder, "--bucket", tiny)}
        assert keys == {path.relative_to(tiny).as_posix() for path in (tiny / folder).iterdir()}
        assert {row[3] for row in lines("ls", folder[:-2], "--bucket", tiny)} == keys
        rows = lines("ls", "derivatives/", "--subject", "03", "--kind", "anatomy", "--bucket", tiny)
        assert rows
        assert all("sub-03" in row[3] for row in rows)

    def test_for_machines(self, tiny: Path) -> None:
        found = as_json("ls", "--bucket", tiny, "--kind", "rois", "--subject", "01")
        assert {one["roi"] for one in found["objects"]} - {""} == set(get_rois("sub-01", bucket=tiny))
        assert {one["category"] for one in found["objects"]} - {""} == set(get_categories("sub-01", bucket=tiny))
        assert found["bytes"] == sum(one["bytes"] for one in found["objects"])
        assert as_json("ls", "nothing/", "--bucket", tiny, code=NOT_FOUND) == {
            "bucket": str(tiny),
            "objects": [],
            "bytes": 0,
        }

    def test_with_a_mirror(self, tiny: Path, copy: Path) -> None:
        """Where each object would be read."""
        rows = lines("ls", "--bucket", tiny, "--mirror", copy, "--kind", "trials", "--subject", "01")
        where = {layout.session_of(row[3]): row[2] for row in rows}
        assert where == {"ses-01": "mirror", "ses-02": "bucket", "ses-03": "bucket", "ses-31": "held out"}

    def test_names_that_a_terminal_would_obey(self, own_tiny: Path) -> None:
        """Control characters, tabs and line ends are told, not sent; undecodable names too."""
        folder = own_tiny / "stimuli"
        folder.mkdir(exist_ok=True)
        (folder / "a\x1b[2Jb\tc\nd\x7f\u202ee").write_bytes(b"1")
        (folder / "b\udcff").write_bytes(b"1")
        (folder / "c[bold]é.csv").write_bytes(b"1")
        result = run("ls", "stimuli/", "--bucket", own_tiny)
        assert result.exit_code == 0
        keys = [line.split("\t")[3] for line in result.stdout.splitlines() if "/a" in line or "/b" in line]
        assert keys == ["stimuli/a\\x1b[2Jb\\tc\\nd\\x7f\\u202ee", "stimuli/b\\udcff"]
        assert "c[bold]é.csv" in result.stdout
        assert as_json("ls", "stimuli/", "--bucket", own_tiny)["objects"][0]["key"].startswith("stimuli/a\x1b")


class TestFailures:
    """A line on stderr, a code for each, and no traceback."""

    @pytest.mark.parametrize("command", ["info", "ls"])
    def test_not_there(self, command: str, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        refused(NOT_FOUND, "There is no bucket or folder", command, "--bucket", tmp_path / "none")
        refused(NOT_FOUND, "holds no", command, "--bucket", tmp_path / "empty")
        refused(NOT_FOUND, "no matching object", "ls", "no/such", "--bucket", tmp_path / "empty")

    @pytest.mark.parametrize("command", ["info", "ls"])
    def test_unreachable(self, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody listens; and somebody who is silent, no longer than the environment says."""
        monkeypatch.setenv("LAION_FMRI_NETWORK", "attempts=2,total_seconds=2,read_seconds=1")
        reach = ["--bucket", "s3://laion-fmri", "--endpoint-url"]
        text = refused(UNREACHABLE, "http://127.0.0.1:9", command, *reach, "http://127.0.0.1:9")
        assert "LAION_FMRI_MIRROR" in text
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}"
            start = time.monotonic()
            refused(UNREACHABLE, address, command, *reach, address)
            assert time.monotonic() - start < NetworkPolicy().total_seconds

    def test_unreachable_with_a_mirror(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is there is told, with one warning."""
        monkeypatch.setenv("LAION_FMRI_NETWORK", "attempts=1,total_seconds=2")
        options = ["--bucket", "s3://laion-fmri", "--endpoint-url", "http://127.0.0.1:9", "--mirror", copy]
        result = run("ls", *options, "--kind", "trials", "--session", "1")
        assert result.exit_code == 0, result.output
        assert {line.split("\t")[2] for line in result.stdout.splitlines()} == {"mirror"}
        assert result.stderr.count("Warning: ") == 1
        assert "does not respond" in result.stderr

    def test_denied(self, closed: str) -> None:
        refused(DENIED, "s3://laion-fmri", "info", "--bucket", "s3://laion-fmri", "--endpoint-url", closed)

    def test_an_roi_in_two_spellings(self, own_tiny: Path) -> None:
        """As this package's mirror and that of the data set write them, side by side: one ROI."""
        (path,) = own_tiny.rglob("sub-01_space-T1w_res-1pt8_label-FFA-1_mask.nii.gz")
        shutil.copy(path, path.with_name(path.name.replace("FFA-1", "FFA1")))
        result = run("info", "--bucket", own_tiny, "--subject", "sub-01")
        assert result.exit_code == 0, result.output
        assert len([line for line in result.stdout.splitlines() if "\tFFA1\t" in line]) == 1

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["info", "--subject", "sub-02"], "Did you mean 'sub-0"),
            (["ls", "--subject", "sub-02"], "Unknown subject"),
            (["ls", "--session", "9"], "Unknown session"),
            (["ls", "--session", "x y"], "Not a session"),
            (["ls", "--kind", "beta"], "'betas'"),
            (["ls", "--bukcet", "x"], "--bucket"),
            (["ls", "a", "b"], "unexpected extra argument"),
            (["info", "--storage-option", "anon"], "expected key=value"),
            (["info", "--mirror", "{tiny}/README"], "is a file"),
        ],
    )
    def test_usage(self, arguments: list[str], told: str, tiny: Path) -> None:
        """With the nearest valid names."""
        refused(USAGE, told, *(word.format(tiny=tiny) for word in arguments), "--bucket", tiny)

    def test_a_network_that_cannot_be_understood(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAION_FMRI_NETWORK", "patience=3")
        refused(USAGE, "patience", "info", "--bucket", tiny)


@pytest.mark.parametrize("command", ["info", "ls"])
def test_help(command: str) -> None:
    """Examples to copy, the fields of the lines, and every exit code."""
    result = run(command, "--help")
    assert result.exit_code == 0
    stripped = [line.strip() for line in result.stdout.splitlines()]
    assert any(line.startswith(f"intake-laion-fmri {command} --") for line in stripped)
    assert any(line.startswith("In a pipe") for line in stripped)
    codes = [line.split("  ")[0] for line in stripped[stripped.index("Exit codes:") + 1 :]]
    assert codes == [str(code) for code in (0, 1, 2, UNREACHABLE, DENIED, NOT_FOUND, CONTRADICTORY)]
    assert "\\b" not in result.stdout
