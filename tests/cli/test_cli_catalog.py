"""The commands that write the catalog and watch for drift: what is said, exit codes, and what is left on disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import intake
import pytest
from click.testing import CliRunner, Result

from intake_laion_fmri.catalog.files import ROOT_FILE
from intake_laion_fmri.catalog.inventory import INVENTORY_FILE, catalog_folder
from intake_laion_fmri.cli.exits import CONTRADICTORY, DENIED, DRIFT, NOT_FOUND, UNREACHABLE
from intake_laion_fmri.cli.main import main

BETAS = "derivatives/glmsingle-tedana"
ROIS = "derivatives/rois"
FILES = [INVENTORY_FILE, "laion_fmri.v2.yaml", ROOT_FILE, "sub-01.yaml", "sub-03.yaml"]


def run(*arguments: object, **options: Any) -> Result:
    words = ["catalog", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(main, words, prog_name="intake-laion-fmri", **options)


def check(*arguments: object, code: int) -> list[str]:
    """Run ``catalog check``, expect an exit code and nothing on stderr, and return its lines but for the last."""
    result = run("check", *arguments)
    assert (result.exit_code, result.stderr) == (code, ""), result.output
    *lines, last = result.stdout.splitlines()
    assert ("difference" in last) == bool(code)
    return lines


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def written(tiny: Path, tmp_path: Path) -> Path:
    """The catalog of the tiny bucket."""
    folder = tmp_path / "catalogs"
    assert run("write", "--bucket", tiny, "--out", folder).exit_code == 0
    return folder


class TestWrite:
    def test_from_a_bucket(self, tiny: Path, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "catalogs"
        result = run("write", "--bucket", tiny, "--out", folder)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"{folder}: 5 files from a listing of {tiny}; 5 of them new, changed or removed.\n"
        assert sorted(contents(folder)) == FILES
        cat = intake.open_catalog(str(folder / ROOT_FILE))
        assert list(cat["sub-03"](bucket=tiny).rois.read().roi.values) == [
            name for name in cat["sub-03"] if cat["sub-03"][name].metadata.get("category")
        ]

    def test_again(self, tiny: Path, written: Path) -> None:
        """The same bytes; from a copy of the bucket too, but for where they are from."""
        before = contents(written)
        result = run("write", "--bucket", tiny, "--out", written)
        assert result.stdout.endswith("; 0 of them new, changed or removed.\n")
        assert contents(written) == before

    def test_what_ships(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a bucket, and into the folder of that name: in a checkout, the one that ships."""
        monkeypatch.chdir(tmp_path)
        result = run("write")
        assert result.exit_code == 0
        assert "documentation" in result.stdout
        assert contents(tmp_path / "catalogs") == contents(catalog_folder())

    def test_from_s3(self, s3: Any, written: Path, tmp_path: Path) -> None:
        """The inventory is that of the same objects on a disk."""
        result = run("write", "--bucket", s3.url, "--endpoint-url", s3.endpoint, "--out", tmp_path / "other")
        assert (result.exit_code, result.stderr) == (0, "")
        here, there = (json.loads((folder / INVENTORY_FILE).read_text()) for folder in (written, tmp_path / "other"))
        assert there["source"] == "a listing of s3://laion-fmri"
        assert here["subjects"] == there["subjects"]

    def test_a_bucket_filled_in_part(self, own_tiny: Path, tmp_path: Path) -> None:
        """A line on stderr, as anywhere; what is there is written."""
        shutil.rmtree(own_tiny / ROIS / "sub-03")
        result = run("write", "--bucket", own_tiny, "--out", tmp_path / "out")
        assert result.exit_code == 0
        assert result.stderr == f"Warning: {own_tiny} is incomplete: {ROIS} has no sub-03.\n"
        assert sorted(contents(tmp_path / "out")) == FILES

    def test_a_folder_that_cannot_be_written(self, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        result = run("write", "--bucket", tiny, "--out", tmp_path / "file" / "out")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")
        assert str(tmp_path / "file") in result.stderr

    def test_no_half_of_a_catalog_from_a_bucket_that_is_not_there(self, written: Path, tmp_path: Path) -> None:
        before = contents(written)
        assert run("write", "--bucket", tmp_path / "none", "--out", written).exit_code == NOT_FOUND
        assert contents(written) == before


class TestCheck:
    def test_no_drift(self, tiny: Path, written: Path) -> None:
        result = run("check", "--bucket", tiny, "--catalog", written)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"{written} agrees with {tiny}: 2 subjects.\n"

    def test_each_kind_of_drift(self, own_tiny: Path, written: Path) -> None:
        """A new session, a vanished region, a new subject, one that has gone in part, and a larger file."""
        func = own_tiny / BETAS / "sub-01/ses-04/func"
        func.mkdir(parents=True)
        (func / "sub-01_ses-04_task-images_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz").write_bytes(
            b"4"
        )
        for path in (own_tiny / ROIS / "sub-01").rglob("*label-hV4*"):
            path.unlink()
        new = own_tiny / ROIS / "sub-09" / "face"
        new.mkdir(parents=True)
        (new / "sub-09_space-T1w_res-1pt8_label-FFA-1_mask.nii.gz").write_bytes(b"roi")
        shutil.copytree(own_tiny / BETAS / "sub-01/ses-01", own_tiny / BETAS / "sub-09/ses-01")
        shutil.rmtree(own_tiny / BETAS / "sub-03/ses-02")
        (larger,) = own_tiny.rglob("sub-03_ses-03_*SingletrialBetas_statmap.nii.gz")
        size = larger.stat().st_size
        larger.write_bytes(larger.read_bytes() + b"\0")
        assert check("--bucket", own_tiny, "--catalog", written, code=DRIFT) == [
            "gone     sub-01 roi hV4: retinotopy",
            "new      sub-01 ses-04: public",
            "gone     sub-03 ses-02: public",
            f"changed  sub-03 ses-03: bytes {size} -> {size + 1}",
            "new      sub-09: 0 public sessions and 1 ROI",
        ]

    def test_a_held_out_session_that_became_listed(self, own_tiny: Path, tmp_path: Path) -> None:
        """And one that vanished from the listing."""
        shutil.rmtree(own_tiny / BETAS / "sub-01/ses-31")
        run("write", "--bucket", own_tiny, "--out", tmp_path / "out")
        func = own_tiny / BETAS / "sub-01/ses-32/func"
        func.mkdir(parents=True)
        (func / "sub-01_ses-32_task-images_desc-SingletrialBetas_trials.tsv").write_text("session\n")
        shutil.rmtree(own_tiny / BETAS / "sub-03/ses-31")
        assert check("--bucket", own_tiny, "--catalog", tmp_path / "out", code=DRIFT) == [
            "new      sub-01 ses-32: held out",
            "gone     sub-03 ses-31: held out",
        ]

    def test_what_ships(self, tiny: Path) -> None:
        """By default; a bucket tells names that were not documented."""
        lines = check("--bucket", tiny, code=DRIFT)
        assert "new      sub-03 roi AFP1: face" in lines
        assert "new      sub-01 ses-31: held out" in lines
        assert "gone     sub-01 ses-04: public" in lines
        assert "gone     sub-05: 30 public sessions; its 41 ROIs are not known by name" in lines
        assert not [line for line in lines if "sub-01 roi" in line or "roi_count" in line]

    def test_the_bucket_of_the_environment(self, tiny: Path, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny))
        assert check("--catalog", written, code=0) == []

    def test_for_machines(self, own_tiny: Path, written: Path) -> None:
        for path in (own_tiny / ROIS / "sub-01").rglob("*label-hV4*"):
            path.unlink()
        result = run("check", "--bucket", own_tiny, "--catalog", written, "--json")
        assert result.exit_code == DRIFT
        assert json.loads(result.stdout) == {
            "bucket": str(own_tiny),
            "catalog": str(written),
            "changes": [
                {"subject": "sub-01", "kind": "roi", "name": "hV4", "change": "gone", "detail": "retinotopy"},
            ],
        }

    def test_yaml_that_is_not_of_its_inventory(self, tiny: Path, written: Path) -> None:
        """Edited by hand, or not written by this version."""
        (written / ROOT_FILE).write_text("sources: {}\n")
        (line,) = check("--bucket", tiny, "--catalog", written, code=DRIFT)
        assert line.startswith(f"changed  file {ROOT_FILE}: differs from {INVENTORY_FILE}")

    def test_it_writes_nothing(self, tiny: Path, written: Path) -> None:
        before = contents(written)
        check("--bucket", tiny, "--catalog", written, code=0)
        assert contents(written) == before

    def test_each_run_asks_the_bucket_again(self, own_tiny: Path, written: Path) -> None:
        """Within one process too."""
        check("--bucket", own_tiny, "--catalog", written, code=0)
        shutil.rmtree(own_tiny / BETAS / "sub-03")
        shutil.rmtree(own_tiny / ROIS / "sub-03")
        lines = check("--bucket", own_tiny, "--catalog", written, code=DRIFT)
        assert lines == ["gone     sub-03: 3 public sessions and 43 ROIs"]


class TestFailures:
    """A line on stderr, a code for each, and no traceback."""

    def refused(self, code: int, told: str, *arguments: object) -> None:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.stdout == ""
        assert told in result.stderr
        assert "Error: " in result.stderr

    @pytest.mark.parametrize("command", ["write", "check"])
    def test_no_such_bucket(self, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        self.refused(NOT_FOUND, "There is no bucket or folder", command, "--bucket", tmp_path / "none")
        self.refused(NOT_FOUND, "holds no", command, "--bucket", tmp_path / "empty")

    @pytest.mark.parametrize("command", ["write", "check"])
    def test_unreachable(self, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        options = ["--bucket", "s3://laion-fmri", "--endpoint-url", "http://127.0.0.1:9"]
        self.refused(UNREACHABLE, "http://127.0.0.1:9", command, *options)

    def test_denied(self, closed: str) -> None:
        """A bucket that may not be listed; through options given one by one."""
        option = f'client_kwargs={{"endpoint_url": "{closed}"}}'
        self.refused(DENIED, "s3://laion-fmri", "check", "--bucket", "s3://laion-fmri", "--storage-option", option)

    def test_contradictory(self, own_tiny: Path, written: Path) -> None:
        (written / "inventory.json").write_text("{}")
        self.refused(CONTRADICTORY, "is not an inventory", "check", "--bucket", own_tiny, "--catalog", written)
        (written / INVENTORY_FILE).write_text("{}")
        self.refused(CONTRADICTORY, f"{INVENTORY_FILE} is not an inventory", "check", "--catalog", written)

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["check", "--catalog", "none"], "'none' does not exist"),
            (["check", "--catalog", "."], f"has no {INVENTORY_FILE}"),
            (["check", "--bucket", "foo://x"], "not know the protocol 'foo'"),
            (["check", "--storage-option", "anon"], "expected key=value"),
            (["check", "--storage-option", "client_kwargs=x", "--endpoint-url", "http://x"], "mapping"),
            (["write", "--endpoint-url", "http://x"], "need --bucket"),
            (["write", "--bukcet", "x"], "--bucket"),
            (["rewrite"], "'rewrite'"),
        ],
    )
    def test_usage(self, arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        self.refused(2, told, *arguments)
        assert list(tmp_path.iterdir()) == []

    def test_options_that_the_client_refuses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Asked to sign requests, with nothing to sign them with."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        options = ["--storage-option", "anon=false", "--endpoint-url", "http://127.0.0.1:9"]
        self.refused(2, "credentials", "check", "--bucket", "s3://laion-fmri", *options)


@pytest.mark.parametrize("command", ["write", "check"])
def test_help(command: str) -> None:
    """Examples to copy, and every exit code."""
    result = run(command, "--help", terminal_width=100)
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert any(line.startswith(f"intake-laion-fmri catalog {command} --bucket s3://laion-fmri") for line in lines)
    codes = [line.split("  ")[0] for line in lines[lines.index("Exit codes:") + 1 :]]
    assert codes == [str(code) for code in (0, 1, 2, UNREACHABLE, DENIED, NOT_FOUND, CONTRADICTORY)]
    assert "\\b" not in result.stdout


def test_as_a_process(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """The exit codes are those of the process, and nothing warns."""
    code = "from intake_laion_fmri.cli.main import main; main()"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", code, "catalog", *words, "--bucket", str(tiny)]
        return subprocess.run(
            command, cwd=tmp_path, env=python_environment, capture_output=True, text=True, timeout=120
        )

    written = call("write", "--out", "here")
    assert (written.returncode, written.stderr) == (0, "")
    assert (call("check", "--catalog", "here").returncode, call("check").returncode) == (0, DRIFT)
