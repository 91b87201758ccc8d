"""Arguments of another type than they can have: refused by name, whichever function they are given to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intake_laion_fmri import open_betas, open_maps, open_noise_ceilings, open_rois, open_trials
from intake_laion_fmri.errors import NotInBucketError, is_several

NO_DIMENSIONS = np.array(3)


@pytest.mark.parametrize(
    ("function", "argument", "value", "message"),
    [
        (open_betas, "roi", NO_DIMENSIONS, "roi must be a string, a list of strings, or None; found array"),
        (open_rois, "roi", NO_DIMENSIONS, "roi must be a string, a list of strings, or None; found array"),
        (open_noise_ceilings, "roi", NO_DIMENSIONS, "roi must be a string, a list of strings, or None; found array"),
        (open_maps, "maps", NO_DIMENSIONS, "Unknown map: array"),
        (open_trials, "pool", NO_DIMENSIONS, "Unknown pool: array"),
        (open_betas, "pool", NO_DIMENSIONS, "Unknown pool: array"),
        (open_betas, "splits", False, "splits must be a URL or a folder, found False"),
        (open_betas, "splits", 0, "splits must be a URL or a folder, found 0"),
        (open_betas, "splits", [], r"splits must be a URL or a folder, found \[\]"),
        (open_betas, "splits", {}, "splits must be a URL or a folder, found {}"),
        (open_betas, "store_options", True, "store_options must be a mapping of options, found a bool"),
        (open_betas, "store_options", "x", "store_options must be a mapping of options, found a str"),
        (open_betas, "bucket", np.array(["a", "b"]), "bucket must be a URL or a folder, found array"),
        (open_betas, "mirror", np.array(["a", "b"]), "mirror must be a local folder, found array"),
    ],
)
def test_a_value_of_another_type(
    function: Callable[..., Any], argument: str, value: object, message: str, tiny: Path
) -> None:
    """Some were ignored, and some ended in somebody else's error."""
    arguments = {"subject": "sub-01", "bucket": tiny, argument: value}
    with pytest.raises((TypeError, ValueError), match=message):
        function(**arguments)


def test_what_several_values_are() -> None:
    assert [one for one in (["a"], ("a",), {"a"}, np.array(["a"]), {"a": 1}) if not is_several(one)] == []
    assert [one for one in ("a", b"a", 3, None, NO_DIMENSIONS, np.str_("a"), Path("a")) if is_several(one)] == []


def test_a_subject_whose_folder_can_have_no_such_name(tiny: Path) -> None:
    """The disk's own error is none of the contract's."""
    with pytest.raises((NotInBucketError, ValueError)):
        open_trials("9" * 400, bucket=tiny)
