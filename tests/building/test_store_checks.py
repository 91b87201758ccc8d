"""What a store holds and whether it is intact: functions, commands, and the catalog that needs nothing of ours."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from demo_files import betas_file, brain, map_file, trials_file, volume
from tiers import full, sampled

from intake_laion_fmri import build_store, open_betas
from intake_laion_fmri.building.contents import store_info
from intake_laion_fmri.building.verify import verify_store
from intake_laion_fmri.cli.exits import CONTRADICTORY, DENIED, DRIFT, NOT_FOUND, UNREACHABLE
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.errors import NotInStoreError

SESSIONS = [(subject, session) for subject in ("sub-01", "sub-03") for session in ("ses-01", "ses-02", "ses-03")]


def problems(store: Path, **options: Any) -> dict[tuple[str, str], tuple[str, str]]:
    """Return what is found of the sessions that are not ok."""
    checks = verify_store(store, **options)
    return {(one.subject, one.session): (one.status, one.detail) for one in checks if one.status != "ok"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["store", *(str(word) for word in arguments)], prog_name="intake-laion-fmri")


def replace_map(bucket: Path) -> None:
    """Put one noise ceiling in place of another."""
    every, four = (map_file(bucket, "sub-01", f"desc-Noiseceiling{name}") for name in ("Allrep", "4rep"))
    shutil.copy(every, four)


# --- verify -----------------------------------------------------------------------------------------------------------


def test_an_intact_store(tiny: Path, tiny_store: Path) -> None:
    checks = list(verify_store(tiny_store))
    assert [(one.subject, one.session, one.status, one.detail) for one in checks] == [
        (subject, session, "ok", "") for subject, session in SESSIONS
    ]
    sizes = [
        sum(path.stat().st_size for path in (tiny_store / subject / session).rglob("*") if path.is_file())
        - (tiny_store / subject / session / "zarr.json").stat().st_size
        for subject, session in SESSIONS
    ]
    assert [one.n_bytes for one in checks] == sizes
    assert problems(tiny_store, against_source=True, bucket=tiny) == {}


@full("each of some hundred objects in turn; damage of each kind is in the fast tier")
def test_every_object_is_checked(own_store: Path) -> None:
    """A bit flipped anywhere in any object of a session is found, and so is a missing object."""
    group = own_store / "sub-01" / "ses-02"
    paths = sorted(path for path in group.rglob("*") if path.is_file())
    assert len(paths) > 50
    for number, path in enumerate(paths):
        kept = path.read_bytes()
        broken = bytearray(kept)
        broken[number * 977 % len(kept)] ^= 1 << number % 8
        path.write_bytes(broken)
        ((where, (status, detail)),) = problems(own_store, subjects="01", sessions=2).items()
        assert (where, status) == (("sub-01", "ses-02"), "damaged")
        assert path.relative_to(group).as_posix() in detail
        path.unlink()
        ((_, (status, detail)),) = problems(own_store, subjects="01", sessions=2).items()
        assert status == ("incomplete" if path == group / "zarr.json" else "damaged")
        path.write_bytes(kept)
    assert problems(own_store) == {}


def test_every_part_of_a_shard_is_checked(own_store: Path) -> None:
    """Its index too, which this package does not read, and what is behind its end."""
    path = own_store / "sub-01" / "ses-02" / "betas" / "c" / "0" / "0"
    kept = path.read_bytes()
    for place in (0, 20, 50, 55, 5_000, len(kept) - 1):
        broken = bytearray(kept)
        broken[place] ^= 16
        path.write_bytes(broken)
        assert problems(own_store)["sub-01", "ses-02"][0] == "damaged"
    path.write_bytes(kept + b"\0")
    assert "bytes, found" in problems(own_store)["sub-01", "ses-02"][1]


def test_what_does_not_belong(tiny: Path, own_store: Path, tmp_path: Path) -> None:
    """A stranger's file; a session of another store; a session under another's name. Other folders are let be."""
    (own_store / "sub-01/notes").mkdir()
    (own_store / "sub-01/notes/of.mine").write_text("mine")
    (own_store / "sub-01/ses-01/betas/notes.txt").write_text("mine")
    build_store(tmp_path / "other", bucket=tiny, subjects="sub-01", sessions=2, codec="lz4")
    shutil.rmtree(own_store / "sub-01/ses-02")
    shutil.copytree(tmp_path / "other/sub-01/ses-02", own_store / "sub-01/ses-02")
    shutil.rmtree(own_store / "sub-03/ses-03")
    shutil.copytree(own_store / "sub-03/ses-02", own_store / "sub-03/ses-03")
    found = problems(own_store)
    assert found["sub-01", "ses-01"] == ("damaged", "betas/notes.txt does not belong to it")
    assert found["sub-01", "ses-02"] == ("damaged", "built with codec='lz4', but the store has the default options")
    assert found["sub-03", "ses-03"][0] == "damaged"
    assert len(found) == 3


def test_incomplete_sessions(tiny: Path, tmp_path: Path) -> None:
    """Not built yet, or not to the end: nobody reads them, and that is no damage."""
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-01", sessions=[1, 2])
    (tmp_path / "store/sub-01/ses-02/zarr.json").unlink()
    found = problems(tmp_path / "store")
    assert set(found) == {("sub-01", "ses-02"), ("sub-01", "ses-03")}
    assert {status for status, _ in found.values()} == {"incomplete"}


@pytest.mark.parametrize("dtype", sampled(["float32", "bitround", "float16"], keep=1))
def test_the_first_difference_from_the_source(own_tiny: Path, tmp_path: Path, dtype: str) -> None:
    """By subject, session, trial and voxel; of several the one in the first trial, and there the first voxel."""
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", dtype=dtype)
    path = betas_file(own_tiny, "sub-01", "ses-02")
    content = gzip.decompress(path.read_bytes())
    values = np.frombuffer(content[352:], "<f4").reshape(volume(path).shape, order="F").copy(order="F")
    voxels = brain(own_tiny, "sub-01")
    usable = [
        int(v) for v in voxels if np.isfinite(values[(*np.unravel_index(v, values.shape[:3]), slice(None))]).all()
    ]
    shape = values.shape[:3]
    for trial, voxel in ((30, usable[0]), (17, usable[250]), (17, usable[40]), (25, usable[3])):
        values[(*np.unravel_index(voxel, shape), trial)] *= 1.5
    path.write_bytes(gzip.compress(content[:352] + values.tobytes(order="F")))
    found = problems(tmp_path / "store", against_source=True, bucket=own_tiny)
    assert list(found) == [("sub-01", "ses-02")]
    status, detail = found["sub-01", "ses-02"]
    assert status == "different"
    assert detail.startswith(f"sub-01 ses-02 trial 20017 voxel {usable[40]}: found ")
    assert problems(tmp_path / "store") == {}


def test_a_value_beyond_the_mask_is_no_difference(own_tiny: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", sessions=1, roi="face")
    path = betas_file(own_tiny, "sub-01", "ses-01")
    content = gzip.decompress(path.read_bytes())
    values = np.frombuffer(content[352:], "<f4").reshape(volume(path).shape, order="F").copy(order="F")
    values[0, 0, 0] = 7
    path.write_bytes(gzip.compress(content[:352] + values.tobytes(order="F")))
    assert problems(tmp_path / "store", sessions=1, against_source=True, bucket=own_tiny) == {}


def test_labels_and_maps_that_differ_from_the_source(own_tiny: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", sessions=[1, 2])
    table = trials_file(own_tiny, "sub-01", "ses-02")
    lines = table.read_text().splitlines(keepends=True)
    labels = [line.rstrip("\n").split("\t") for line in (lines[4], lines[5])]
    column = lines[0].rstrip("\n").split("\t").index("label")
    assert labels[0][column] != labels[1][column]
    labels[0][column], labels[1][column] = labels[1][column], labels[0][column]
    table.write_text("".join([*lines[:4], *("\t".join(fields) + "\n" for fields in labels), *lines[6:]]))
    found = problems(tmp_path / "store", sessions=[1, 2], against_source=True, bucket=own_tiny)
    assert list(found) == [("sub-01", "ses-02")]
    assert found["sub-01", "ses-02"][1].startswith("sub-01 ses-02: label at (3,): found ")
    shutil.copy(
        map_file(own_tiny, "sub-01", "desc-NoiseceilingAllrep"), map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep")
    )
    found = problems(tmp_path / "store", sessions=1, against_source=True, bucket=own_tiny)
    assert "nc_4rep at (" in found["sub-01", "ses-01"][1]


def test_what_cannot_be_verified(tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(NotInStoreError, match="There is no store at"):
        list(verify_store(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"Unknown subject.*'sub-07'.*sub-01, sub-03"):
        list(verify_store(tiny_store, subjects="07"))
    with pytest.raises(ValueError, match=r"Unknown session.*'ses-09'.*ses-01"):
        list(verify_store(tiny_store, sessions=9))


# --- info -------------------------------------------------------------------------------------------------------------


def test_what_is_inside(tiny: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-03", sessions=[1, 3], roi="face", codec="lz4")
    (tmp_path / "store/sub-03/ses-03/zarr.json").write_text("{}")
    info = store_info(tmp_path / "store")
    (subject,) = info.subjects
    assert (info.options.roi, info.options.codec) == ("face", "lz4")
    assert (list(subject.sessions), subject.missing, list(subject.damaged)) == (
        ["ses-01"],
        ("ses-02", "ses-03"),
        ["ses-03"],
    )
    every = [path for path in (tmp_path / "store/sub-03").rglob("*") if path.is_file()]
    assert (subject.n_objects, subject.n_bytes) == (len(every), sum(path.stat().st_size for path in every))
    stored = subject.sessions["ses-01"]
    ds = open_betas("sub-03", session=1, roi="face", bucket=tiny)
    assert (stored.grid.n_trials, stored.grid.n_voxels) == (ds.sizes["trial"], ds.sizes["voxel"])
    assert json.loads(json.dumps(info.to_json()))["subjects"][0]["missing"] == ["ses-02", "ses-03"]


# --- the commands -----------------------------------------------------------------------------------------------------


def test_commands(tiny: Path, tmp_path: Path) -> None:
    """Build, build on, tell, check: lines for people, exit codes for programs."""
    store = tmp_path / "store.zarr"
    done = run("build", "--bucket", tiny, "--to", store, "--subject", "01", "--session", "1", "--session", "ses-02")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "sub-01 ses-01: built",
        "sub-01 ses-02: built",
        f"{store}: 2 sessions complete",
    ]
    assert "1 to go, " in lines[0]
    assert lines[0].endswith(" left")
    done = run("build", "--bucket", tiny, "--to", store, "--subject", "01")
    assert done.stdout.splitlines()[-1] == f"{store}: 3 sessions complete, 1 of them built now."
    done = run("verify", store)
    assert (done.exit_code, done.stdout) == (0, "".join(f"sub-01 ses-0{n}: ok\n" for n in (1, 2, 3)))
    done = run("verify", store, "--against-source", "--bucket", tiny, "--session", "2", "--json")
    assert json.loads(done.stdout)["sessions"][0]["status"] == "ok"
    info = run("info", store)
    assert info.stdout.splitlines()[0].startswith(f"{store}: ")
    assert info.stdout.splitlines()[0].endswith("built with the default options")
    assert "sub-01: 3 of 3 sessions, 135 trials x 363 voxels" in info.stdout
    assert json.loads(run("info", store, "--json").stdout)["options"]["chunk_voxels"] == 128
    path = store / "sub-01/ses-03/betas/c/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    done = run("verify", store)
    assert done.exit_code == CONTRADICTORY
    assert done.stdout.splitlines()[2].startswith("sub-01 ses-03: damaged: betas/c/0/0: expected")
    shutil.rmtree(store / "sub-01/ses-03")
    assert run("verify", store).exit_code == DRIFT
    assert "missing or incomplete: ses-03" in run("info", store).stdout


@full("every option of the command, six seconds; the functions behind it are tested one by one")
def test_options_of_the_command(tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    options = ["--roi", "face", "--roi", "body", "--mask", "anatomical", "--dtype", "bitround", "--keep-bits", 7]
    options += ["--codec", "zstd", "--chunk-voxels", 8, "--shard-voxels", 0, "--workers", 2]
    done = run("build", "--bucket", tiny, "--to", store, "--subject", "sub-03", *options)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    found = store_info(store).options
    assert (found.roi, found.mask, found.dtype, found.keep_bits) == (("face", "body"), "anatomical", "bitround", 7)
    assert (found.codec, found.chunk_voxels, found.shard_voxels) == ("zstd", 8, None)
    assert "built with roi=('face', 'body'), mask='anatomical'" in run("info", store).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["build"], 2, "Missing option '--to'"),
        (["build", "--to", "{store}", "--bucket", "{tiny}", "--subject", "sub-09"], 2, "Unknown subject"),
        (["build", "--to", "{store}", "--bucket", "{tiny}", "--roi", "face"], 2, "The store was built with --roi None"),
        (["build", "--to", "{store}", "--bucket", "{tiny}", "--session", "31"], DENIED, "held out"),
        (["build", "--to", "{store}", "--bucket", "/nonexistent"], NOT_FOUND, "There is no bucket or folder"),
        (["build", "--to", "nix://x", "--bucket", "{tiny}"], 2, "fsspec does not know the protocol 'nix'"),
        (["build", "--to", "/proc/nope/store", "--bucket", "{tiny}"], 1, "/proc/nope"),
        (["verify", "{tiny}"], NOT_FOUND, "There is no store at"),
        (["verify", "{store}", "--bucket", "{tiny}"], 2, "--against-source"),
        (["info", "/nonexistent"], NOT_FOUND, "There is no store at /nonexistent"),
        (["catalog", "{store}", "--out", "/proc/nope/file.yaml"], 1, "/proc/nope"),
        (
            ["info", "s3://x/y", "--store-endpoint-url", "http://127.0.0.1:9", "--store-option", "anon=true"],
            UNREACHABLE,
            "http://127.0.0.1:9",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_the_commands_refuse(tiny: Path, tiny_store: Path, arguments: list[str], code: int, message: str) -> None:
    """A line on stderr, an exit code that tells what kind of trouble it is, and no traceback."""
    done = run(*(word.format(tiny=tiny, store=tiny_store) for word in arguments))
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_store_on_a_server(s3: Any, tiny: Path) -> None:
    """The command takes its endpoint and its credentials, and the catalog tells only what is no secret."""
    s3.client.create_bucket(Bucket="commands", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    reach = ["--store-endpoint-url", s3.endpoint, "--store-option", "key=test", "--store-option", "secret=hush"]
    done = run("build", "--bucket", tiny, "--to", "s3://commands/x", "--subject", "01", "--session", 1, *reach)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert run("verify", "s3://commands/x", "--session", 1, *reach).exit_code == 0
    text = run("catalog", "s3://commands/x", *reach).stdout
    assert "hush" not in text
    entry = yaml.safe_load(text)["sources"]["sub-01_ses-01"]
    assert entry["args"]["storage_options"] == {"client_kwargs": {"endpoint_url": s3.endpoint}}
    assert entry["args"]["urlpath"] == "s3://commands/x/sub-01/ses-01"


# --- the catalog ------------------------------------------------------------------------------------------------------

READ_PLAINLY = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["intake_laion_fmri"] = None  # whoever asks for it fails
import intake, numpy as np
cat = intake.open_catalog(sys.argv[1])
one = cat["sub-01_ses-02"].to_dask().load().sortby("voxel")
all = cat["sub-01"].to_dask()
assert all.betas.chunks
all = all.load().sortby("voxel")
np.savez(sys.argv[2], names=list(cat), one=one.betas, all=all.betas, trial=all.trial, voxel=all.voxel,
         label=all.label.values.astype(object).astype("U"), in_roi=all.in_roi, nc=all.nc_12rep, role=all.split_role)
"""


@full("a process without this package; catalogs of stores are opened in other tests too")
def test_a_catalog_that_needs_only_intake_xarray(tiny: Path, tiny_store: Path, tmp_path: Path) -> None:
    """In a process to which this package is not there: a session, and all sessions of a subject."""
    done = run("catalog", tiny_store, "--out", tmp_path / "store.yaml")
    assert done.stdout == f"{tmp_path / 'store.yaml'}: 6 sessions of {tiny_store}.\n"
    script = tmp_path / "read.py"
    script.write_text(READ_PLAINLY)
    command = [sys.executable, script, tmp_path / "store.yaml", tmp_path / "read.npz"]
    subprocess.run(command, check=True, timeout=120, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)})
    with np.load(tmp_path / "read.npz") as file:
        found = dict(file)
    expected = open_betas("sub-01", bucket=tiny).compute()
    assert found["names"].tolist() == [
        name for subject in ("sub-01", "sub-03") for name in (subject, *(f"{subject}_ses-0{n}" for n in (1, 2, 3)))
    ]
    np.testing.assert_array_equal(found["one"], expected.betas[expected.session.values == "ses-02"])
    np.testing.assert_array_equal(found["all"], expected.betas)
    for name, coordinate in {"trial": "trial", "voxel": "voxel", "in_roi": "in_roi", "nc": "nc_12rep"}.items():
        np.testing.assert_array_equal(found[name], expected[coordinate])
    np.testing.assert_array_equal(found["role"], expected.split_role)
    assert found["label"].tolist() == expected.label.values.tolist()


def test_sessions_of_other_voxels_have_no_common_entry(own_tiny: Path, tmp_path: Path) -> None:
    """xarray would put them beside each other as if they were the same voxels."""
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", sessions=[1, 2])
    shutil.copy(
        map_file(own_tiny, "sub-01", "desc-NoiseceilingAllrep"), map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep")
    )
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", sessions=3)
    entries = yaml.safe_load(run("catalog", tmp_path / "store").stdout)["sources"]
    assert list(entries) == ["sub-01_ses-01", "sub-01_ses-02", "sub-01_ses-03"]
