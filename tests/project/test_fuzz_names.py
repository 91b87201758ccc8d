"""What users write, split files, inventories and keys, changed at random: understood, or refused as agreed."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import NAME, Hang, damaged, fuzzed, refusals
from hypothesis import assume, given
from hypothesis import strategies as st

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiExpression, RoiMembership, check_selection
from intake_laion_fmri.catalog.inventory import Inventory
from intake_laion_fmri.drivers import BetasSource, MapsSource, RoisSource
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.splits import load_split

pytest_plugins = ["fuzzing_fixtures"]
pytestmark = pytest.mark.usefixtures("bounded_memory")


# --- expressions ------------------------------------------------------------------------------------------------------


NAMES = ("FFA1", "FFA2", "OFA", "PPA", "V1", "V2")
CATEGORIES = ("face", "face", "face", "place", "retinotopy", "retinotopy")
INSIDE = np.random.default_rng(0).random((len(NAMES), 40)) < 0.5
TOKENS = [
    *NAMES,
    "FFA-1",
    "face",
    "all",
    "|",
    "&",
    " - ",
    "-",
    "(",
    ")",
    " ",
    "  ",
    "\t",
    "\n",
    "{{",
    "'",
    "~",
    "!",
    "V9",
    "é",
    "\0",
    "−",
]


def evaluated(expression: str) -> np.ndarray:
    """By Python's own parser."""
    known: dict[str, np.ndarray] = {name: INSIDE[row] for row, name in enumerate(NAMES)}
    known["FFA-1"] = known["FFA1"]
    for category in CATEGORIES:
        known[category] = INSIDE[[one == category for one in CATEGORIES]].any(axis=0)
    known["all"] = INSIDE.any(axis=0)
    words = re.findall(r"[A-Za-z0-9+_]+(?:-+[A-Za-z0-9+_]+)*|\S", expression)
    places = {
        f"x{number}": frozenset(np.flatnonzero(known[word])) for number, word in enumerate(words) if word in known
    }
    text = " ".join(f"x{number}" if word in known else word for number, word in enumerate(words))
    mask = np.zeros(INSIDE.shape[1], dtype=bool)
    mask[list(eval(text, {"__builtins__": {}}, places))] = True
    return mask


@fuzzed
@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join) | st.text(max_size=20))
def test_an_expression(expression: str) -> None:
    """What Python's sets make of it, or a ValueError that shows it."""
    with refusals(ValueError, name="roi=" if "V9" not in expression else ""):
        assert check_selection(expression) == expression
        names = set(re.findall(r"[A-Za-z0-9][A-Za-z0-9+_]*(?:-+[A-Za-z0-9+_]+)*", expression))
        assume(names <= {*NAMES, *CATEGORIES, "all", "FFA-1"})
        found = RoiMembership(NAMES, CATEGORIES, INSIDE).select(RoiExpression.parse(expression), where="a subject")
        np.testing.assert_array_equal(found, evaluated(expression))


# --- splits and inventories -------------------------------------------------------------------------------------------


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def jsons(draw: st.DrawFn, valid: Any) -> bytes:
    """Draw a valid value with other values in some places, as bytes that may be changed further."""
    value = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(0, 2))):
        place = value
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
                if isinstance(place, dict) and draw(st.integers(0, 4)) == 0:
                    del place[key]
                else:
                    place[key] = draw(ANY_JSON)
                break
            place = place[key]
    content = json.dumps(value).encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-8-sig"])))
    return (
        draw(damaged(content, pieces=(b"[", b"{", b'"', b"NaN", b"1e999", b"\xff"))) if draw(st.booleans()) else content
    )


SPLIT = {
    "name": "tau", "pool": "x", "splitter": "s", "params": {"a": [1, {"b": 2.5}]}, "n_train": 2, "n_test": 1,
    "variants": [{"variant_id": 0, "train_ids": ["a.jpg", "b.jpg"], "test_ids": ["c.jpg"]}],
}  # fmt: skip


@fuzzed
@given(content=jsons(SPLIT) | st.binary(max_size=100) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_a_split(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Its labels are what the json module finds there."""
    folder = tmp_path_factory.getbasetemp() / "fuzzed-splits"
    (folder / "shared").mkdir(parents=True, exist_ok=True)
    (folder / "shared/tau.json").write_bytes(content)
    with refusals(name=f"{folder}/shared/tau.json"):
        split = load_split("tau", splits=folder)
        fields = json.loads(content)
        assert [list(one.train_ids) for one in split.variants] == [one["train_ids"] for one in fields["variants"]]
        assert [list(one.test_ids) for one in split.variants] == [one["test_ids"] for one in fields["variants"]]
        assert (split.n_train, split.n_test) == (fields["n_train"], fields["n_test"])
        assert not {type(split.n_train), type(split.n_test)} - {int}
        assert {len(one.train_ids) for one in split.variants} == {split.n_train}
        repr(split).encode()


INVENTORY = {
    "source": "a listing", "subjects": {"sub-01": {
        "roi_counts": {"all": 2},
        "sessions": [{"session": "ses-01", "bytes": 12}, {"session": "ses-31", "held_out": True}],
        "rois": [{"roi": "FFA1", "category": "face", "formats": ["volume", "label"], "bytes": 3}],
    }},
}  # fmt: skip


@fuzzed
@given(jsons(INVENTORY).map(lambda content: content.decode(errors="replace")) | st.text(max_size=60))
def test_an_inventory(text: str) -> None:
    """What is read can be written, and read again."""
    with refusals(name=NAME):
        inventory = Inventory.from_json(text, name=NAME)
        assert Inventory.from_json(inventory.to_json(), name=NAME) == inventory
        for name, subject in inventory.subjects.items():
            assert layout.subject_name(name) == name
            assert all(layout.is_session(one.session) for one in subject.sessions)


# --- keys, names and arguments ----------------------------------------------------------------------------------------


ENTITIES = {
    "subject": "sub-01",
    "session": "ses-01",
    "category": "face",
    "label": "FFA-1",
    "map": "12rep",
    "hemi": "L",
    "side": "lh",
}
VALID_KEYS = [
    kind.template.format_map({**dict.fromkeys(re.findall(r"{(\w+)}", kind.template), "x1"), **ENTITIES})
    for kind in layout.KINDS.values()
]
ODD = [
    "..",
    "/",
    "//",
    "\\",
    "\0",
    "\n",
    "\x1b[2J",
    "\u0660",
    "\uff10",
    "\u0430",
    "e\u0301",
    "\u200b",
    "%2e",
    "C:",
    " ",
    "+",
    "-",
]


@st.composite
def keys(draw: st.DrawFn) -> str:
    key = draw(st.sampled_from(VALID_KEYS))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(key)))
        stop = start + draw(st.integers(0, 4))
        key = key[:start] + draw(st.sampled_from(ODD) | st.text(max_size=3)) + key[stop:]
    return draw(
        st.sampled_from([key, key, key, unicodedata.normalize("NFD", key), f"/{key}", f"../{key}", f"{key}/.."])
    )


@fuzzed
@given(keys() | st.text(max_size=30))
def test_a_key(key: str) -> None:
    """What is taken for a key names the very object, below the root, in letters that look like themselves."""
    parsed = layout.parse_key(key)
    if parsed is not None:
        assert layout.key(parsed.kind, **parsed.entities) == key
        assert set(key) <= set(string.ascii_letters + string.digits + "+-_./")
        assert not key.startswith("/")
        assert not {"", ".", ".."} & set(key.split("/"))
        if "session" in parsed.entities:
            assert layout.session_number(parsed.entities["session"]) <= 9999


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4)
    | st.sampled_from([10**400, -(10**400), "9" * 5000, "sub-01", "ses-01", "all", "face", "../x", "\0", b"x"]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip


@fuzzed
@given(ANYTHING)
def test_a_name(value: Any) -> None:
    """Of a subject or a session: one that can stand in a key, or a ValueError."""
    for canonical, prefix in ((layout.subject_name, "sub"), (layout.session_name, "ses")):
        with refusals(ValueError, name="Not a", longest=50_000):  # what a user gives is shown to them
            name = canonical(value)
            assert re.fullmatch(rf"{prefix}-[A-Za-z0-9]+", name)
            assert canonical(name) == name


DRIVERS = {
    BetasSource: ["subject", "session", "roi", "mask", "min_noise_ceiling", "noise_ceiling", "stimuli", "split", "pool",
                  "role", "bucket", "storage_options", "store", "store_options", "fallback", "splits"],
    RoisSource: ["format", "hemi"],
    MapsSource: ["maps", "grid"],
}  # fmt: skip


@fuzzed
@given(st.sampled_from([(driver, name) for driver, names in DRIVERS.items() for name in names]), ANYTHING)
def test_an_argument(place: tuple[Callable[..., Any], str], value: Any) -> None:
    """Of a driver: taken, or refused as a wrong value or type before anything is contacted."""
    driver, argument = place
    with refusals((ValueError, TypeError), name="", longest=50_000):
        driver(**{"subject": "sub-01", "bucket": "/nowhere", argument: value})


def test_the_fuzzing_can_fail() -> None:
    """The guard sees other errors, errors without a name, and what hangs."""
    with pytest.raises(KeyError), refusals():
        raise KeyError(NAME)
    with pytest.raises(AssertionError), refusals():
        raise DataIntegrityError("something is wrong")
    with pytest.raises(Hang), refusals():  # noqa: PT012
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while True:
            pass


def test_the_targets_of_the_fuzzer_take_their_seeds() -> None:
    """It starts from valid inputs, which its own properties hold of; and sees what is none."""
    path = Path(__file__).parents[2] / "fuzz/targets.py"
    if not path.is_file():
        pytest.skip("not part of a source distribution")
    spec = importlib.util.spec_from_file_location("fuzz_targets", path)
    targets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(targets)
    for name, target in targets.TARGETS.items():
        assert targets.seeds(name)
        for content in [*targets.seeds(name), b"", b"\xff\x00"]:
            target(content)
