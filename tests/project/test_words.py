"""The words that arguments take: what a type checker accepts is what is accepted at run time."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from tiers import full

from intake_laion_fmri import layout
from intake_laion_fmri.axes import vertices, voxels
from intake_laion_fmri.cli.store import build
from intake_laion_fmri.reading import arguments
from intake_laion_fmri.store import codecs, rounding

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (arguments.Format, layout.ROI_KINDS.values()),
        (codecs.Codec, codecs.CODECS),
        (vertices.Hemisphere, vertices.HEMISPHERES),
        (voxels.MapName, [*voxels.SUBJECT_MAPS, *voxels.SESSION_MAPS]),
        (voxels.Mask, voxels.MASKS),
        (voxels.NoiseCeiling, layout.NOISE_CEILINGS),
    ],
    ids=["format", "codec", "hemi", "maps", "mask", "noise_ceiling"],
)
def test_every_word_means_something(words: Any, known: Iterable[str]) -> None:
    """A mask without a rule, or a map that no argument can name, would be found by a user."""
    assert list(get_args(words)) == list(known)


def test_the_command_line_takes_the_same_words() -> None:
    """It repeats them, because `--help` is not to load what would tell them."""
    choices = {one.name: one.type.choices for one in build.params if isinstance(one.type, click.Choice)}
    words = {"mask": voxels.Mask, "dtype": rounding.Dtype, "codec": codecs.Codec}
    assert {name: tuple(taken) for name, taken in choices.items()} == {
        name: get_args(one) for name, one in words.items()
    }


WRONG = [
    ("open_betas('sub-01', stimuli='shared')", "open_betas('sub-01', stimuli='sharde')"),
    ("open_betas('sub-01', mask='anatomical')", "open_betas('sub-01', mask='brain')"),
    ("open_betas('sub-01', noise_ceiling='4rep')", "open_betas('sub-01', noise_ceiling='12')"),
    ("open_betas('sub-01', split='tau', role='test')", "open_betas('sub-01', split='tau', role='tets')"),
    ("open_betas('sub-01', roi='V1 | (hV4 & face)')", "open_betas('sub-01', split='taus')"),
    ("open_trials('sub-01', split='random_0', pool='subject')", "open_trials('sub-01', split='ood', pool='sub-01')"),
    ("open_rois('sub-01', format='func.gii', hemi='L')", "open_rois('sub-01', format='gii')"),
    ("open_rois('sub-01', format='all', hemi='all')", "open_rois('sub-01', hemi='left')"),
    ("open_maps('sub-01', maps=['nc_12rep', 'r2_mean'])", "open_maps('sub-01', maps=['nc_12'])"),
    ("open_maps('sub-01', maps='all', grid='volume')", "open_maps('sub-01', grid='voxels')"),
    ("open_noise_ceilings('sub-01', grid='voxel')", "open_noise_ceilings('sub-01', mask='r2')"),
    ("build_store('a', dtype='bitround', codec='lz4')", "build_store('a', dtype='float64')"),
    ("build_store('a', scheduler='processes')", "build_store('a', codec='zip', scheduler='threads')"),
    ("assert_type(open_catalog(), LaionCatalog)", "open_catalog(mirror_only='yes')"),
    ("load_split('of_mine', 'sub-01', splits='mine')", "load_split(0)"),
    ("load_subject('01').get_betas(1, stimuli='ood')", "load_subject('01').get_betas(1, stimuli='odd')"),
]
"""A call that a type checker must accept, and one in which it must find one error."""


@full("mypy reads this package and xarray from their sources: half a minute; `make lint` holds the package's own calls")
def test_a_type_checker_finds_a_wrong_word(tmp_path: Path) -> None:
    """Before anything is run: an editor underlines ``stimuli="sharde"``."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed: it comes with the extra `dev`, not with `test`")
    names = "build_store, open_betas, open_catalog, open_maps, open_noise_ceilings, open_rois, open_trials"
    head = ["from typing import assert_type", f"from intake_laion_fmri import {names}"]
    head += ["from intake_laion_fmri.drivers import LaionCatalog", "from intake_laion_fmri.splits import load_split"]
    head += ["from intake_laion_fmri.subject import load_subject"]
    program = tmp_path / "program.py"
    program.write_text("\n".join([*head, *(call for pair in WRONG for call in pair)]) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", tmp_path / "cache", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [int(line) for line in re.findall(r"program\.py:(\d+): error: .*\[(?:arg-type|list-item)\]", done.stdout)]
    assert found == list(range(len(head) + 2, len(head) + 2 * len(WRONG) + 1, 2)), done.stdout + done.stderr
    assert done.stdout.count("error: ") == len(found), done.stdout
