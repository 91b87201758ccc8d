"""A source is three entries: those that CONTRIBUTING.md walks through, added to a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import intake_laion_fmri
from intake_laion_fmri.catalog.inventory import catalog_folder

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
PACKAGE = Path(intake_laion_fmri.__file__).parent
KEY = "derivatives/glmsingle-tedana/sub-01/ses-02/func/sub-01_ses-02_task-images_desc-Motion_timeseries.tsv"
TABLE = "x\ty\tz\n0.5\t0\t-1\n"

FIND_IT = """
import json, pickle, sys
import intake
import intake_laion_fmri
from click.testing import CliRunner
from documented import cells
from intake_laion_fmri import layout, mirror_bucket, open_catalog
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.discovery import inventory
from intake_laion_fmri.sources import SOURCES

def run(*words):
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout

bucket, mirror = sys.argv[1:]
run("catalog", "write", "--out", "catalogs")
cat = open_catalog(bucket=bucket)
source = pickle.loads(pickle.dumps(cat.motion(subject="sub-01", unit="um")))
try:
    cat.motion(units="um")
except TypeError as error:
    refused = str(error)
v2 = intake.from_yaml_file("catalogs/laion_fmri.v2.yaml")(bucket_url=bucket)
table = inventory(bucket=bucket)
run("mirror", "--to", mirror, "--bucket", bucket, "--group", "motion")
print(json.dumps({
    "facade": intake_laion_fmri.open_motion("sub-01", bucket=bucket).values.tolist(),
    "v1": source.read().values.tolist(),
    "v1 of the subject": cat["sub-01"].motion.read().values.tolist(),
    "driver": [type(source).__module__, type(source).__qualname__, source.name, source.container],
    "refused": refused,
    "description": cat["sub-01"].motion.describe()["description"],
    "help": cat.motion.describe()["metadata"]["arguments"],
    "help of betas": cat.betas.describe()["metadata"]["arguments"],
    "v2": v2.motion.read().values.tolist(),
    "v2 pickled": pickle.loads(pickle.dumps(v2.motion(unit="um"))).read().values.tolist(),
    "inventory": table[table.group == "motion"][["subject", "session", "kind", "key"]].values.tolist(),
    "ls": run("ls", "--bucket", bucket, "--group", "motion").splitlines(),
    "info": [one["groups"].get("motion") for one in json.loads(run("info", "--bucket", bucket, "--json"))["subjects"]],
    "status": json.loads(run("mirror", "status", mirror, "--json"))["subjects"],
    "documented": cells(SOURCES)["motion"],
}))
"""


@pytest.fixture(scope="module")
def entries() -> dict[str, str]:
    """Return the entries of the guide: where they go → what is added."""
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    texts = [textwrap.dedent(block).partition("\n") for block in blocks]
    return {where.removeprefix("# "): text for where, _, text in texts}


@pytest.fixture(scope="module")
def found(entries: dict[str, str], tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Add the entries to a copy of the package, and look for the source everywhere."""
    top = tmp_path_factory.mktemp("made-up")
    shutil.copytree(PACKAGE, top / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(catalog_folder(), top / "catalogs")
    for where, text in entries.items():
        path, _, table = where.partition(": ")
        if table:
            code = (top / path).read_text()
            assert code.count(f"\n{table} = (\n") == 1
            text = code.replace(f"\n{table} = (\n", f"\n{table} = (\n{textwrap.indent(text, '    ')}")
        (top / path).write_text(text)
    bucket = shutil.copytree(tiny, top / "bucket")
    (bucket / KEY).write_text(TABLE)
    search = os.pathsep.join([str(top), str(Path(__file__).parents[1] / "support")])
    result = subprocess.run(
        [sys.executable, "-c", FIND_IT, str(bucket), str(top / "mirror")],
        capture_output=True,
        text=True,
        cwd=top,
        env={**os.environ, "PYTHONPATH": search},
    )
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_three_entries(entries: dict[str, str]) -> None:
    """A kind, an opener, a row."""
    assert list(entries) == [
        "intake_laion_fmri/layout/trees.py: _KINDS",
        "intake_laion_fmri/reading/functional/motion.py",
        "intake_laion_fmri/sources.py: _ROWS",
    ]


def test_it_opens(found: dict[str, Any]) -> None:
    """By a function, and by both generations of Intake, with its own arguments."""
    row, scaled = [[0.5, 0, -1, "ses-02"]], [[500, 0, -1000, "ses-02"]]
    assert found["facade"] == found["v1 of the subject"] == found["v2"] == row
    assert found["v1"] == found["v2 pickled"] == scaled
    assert found["driver"] == ["intake_laion_fmri.drivers", "MotionSource", "laion_fmri_motion", "dataframe"]
    assert "Did you mean 'unit'" in found["refused"]


def test_the_catalog_describes_it(found: dict[str, Any]) -> None:
    """By its row, and by the docstring of its function."""
    assert found["description"] == "Head motion of sub-01, a pandas DataFrame with a row for each volume."
    assert found["help"].pop("unit") == "mm, um: Unit of the translations"
    assert found["help"] == {name: found["help of betas"][name] for name in found["help"]}
    assert list(found["help"]) == ["subject", "bucket", "storage_options", "mirror", "mirror_only"]


def test_it_is_listed_and_copied(found: dict[str, Any]) -> None:
    """Its files have their kind and their group."""
    assert found["inventory"] == [["sub-01", "ses-02", "motion", KEY]]
    assert found["ls"] == [f"{len(TABLE)}\tmotion\tpublic\t{KEY}"]
    assert found["info"] == [{"objects": 1, "bytes": len(TABLE)}, None]
    assert {one["subject"]: one["groups"].get("motion") for one in found["status"]}["sub-01"] == 1


def test_the_documentation_must_name_it(found: dict[str, Any]) -> None:
    """`test_sources.py` fails until README's table has this cell."""
    assert found["documented"] == "`motion`, `open_motion`"
