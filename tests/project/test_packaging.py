"""What packages this one says what pyproject.toml says: the conda recipe, the environment, the citation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import intake_laion_fmri
from intake_laion_fmri.cli.main import main

PROJECT = Path(__file__).parents[2]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_CONDA = {"dask": "dask-core", "dask[dataframe]": "dask", "isal": "python-isal", "matplotlib": "matplotlib-base"}
"""Names that differ from those of pip."""


def parsed(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))


def as_conda(requirements: list[str]) -> set[str]:
    found = set()
    for requirement in requirements:
        match = re.fullmatch(r"([\w-]+)(\[\w+\])?(>=[\w.]+)(;.*)?", requirement)
        assert match, requirement
        name = OF_CONDA.get(f"{match[1]}{match[2] or ''}", OF_CONDA.get(match[1], match[1]))
        found.add(f"{name} {match[3]}")
    return found


def test_the_recipe_asks_for_the_same() -> None:
    """Names and oldest versions; one Python for all, as `noarch` has it."""
    recipe = parsed("recipe/recipe.yaml")
    assert recipe["context"]["version"] == intake_laion_fmri.__version__
    assert f">={recipe['context']['python_min']}" == DECLARED["requires-python"]
    python, *run = recipe["requirements"]["run"]
    assert python.startswith("python >=")
    assert set(run) == as_conda(DECLARED["dependencies"])
    (script,) = DECLARED["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(script)]


def test_the_environment_has_everything_for_the_notebooks() -> None:
    """What the extra `notebook` would bring, from conda."""
    extras = DECLARED["optional-dependencies"]
    wanted = [one for extra in ("plot", "templates", "model", "cluster", "notebook") for one in extras[extra]]
    wanted = [one for one in wanted if not one.startswith(DECLARED["name"])]
    python, *conda, pip, local = parsed("environment.yml")["dependencies"]
    assert (python, pip, local) == ("python " + DECLARED["requires-python"], "pip", {"pip": ["."]})
    assert set(conda) == as_conda([*DECLARED["dependencies"], *wanted])


def test_the_citation_is_of_this_version() -> None:
    cited = parsed("CITATION.cff")
    assert (cited["version"], cited["title"]) == (intake_laion_fmri.__version__, DECLARED["name"])
    assert cited["license"] == DECLARED["license"]


@pytest.mark.parametrize("name", ["catalog", "doctor"])
def test_the_scheduled_check_runs_commands_that_exist(name: str, tiny: Path) -> None:
    """Those of the workflow, on the demo bucket, which differs from the shipped catalogs."""
    steps = parsed(".github/workflows/drift.yml")["jobs"]["check"]["steps"]
    (line,) = [step["run"] for step in steps if step.get("run", "").startswith(f"intake-laion-fmri {name}")]
    _, *arguments = line.partition(" |")[0].replace("s3://laion-fmri", str(tiny)).split()
    assert CliRunner().invoke(main, arguments).exit_code in {0, 1}
