"""The trial axis: labels against a second grammar, tables against the csv module, counts against plain counting."""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import example, given
from hypothesis import strategies as st

from intake_laion_fmri.axes.labels import Label, parse_label
from intake_laion_fmri.axes.trial_table import read_trials
from intake_laion_fmri.axes.trials import STIMULI, TRIAL, stack_sessions, stimuli_of, trial_coordinates
from intake_laion_fmri.errors import DataIntegrityError

PARTICIPANTS = {"sub-01": "p01", "sub-03": "p04", "sub-05": "p03", "sub-06": "p02", "sub-07": "p05"}
OOD_TYPES = {
    "shape": 82,
    "relations": 72,
    "unusual": 64,
    "cropped": 60,
    "selfmade": 30,
    "gaudy": 24,
    "illusion-classic": 21,
    "gabor": 10,
    "illusion-natural": 8,
}

# The grammar as dataset.md §2 prints it; `\Z` because `$` also matches before a last newline.
GRAMMAR = re.compile(
    r"^(?:shared_(12rep|4rep)_(LAION|THINGS\+|NSD|OOD)_(.+)|unique_(LAION|THINGS\+?)_(.+)_p(0[1-5]))\.(jpg|png)\Z"
)
OOD = re.compile(r"^shared_(?:12|4)rep_OOD_([A-Za-z0-9-]+)_.+\.(?:jpg|png)\Z")


def oracle(label: str) -> Label | None:
    """Parse a label by the documented expressions."""
    match = GRAMMAR.match(label)
    if match is None:
        return None
    repeats, shared, _, unique, _, participant, _ = match.groups()
    if unique:
        return Label(shared=False, dataset=unique, ood_type="", n_repeats=4, participant=f"p{participant}")
    if shared == "OOD" and not OOD.match(label):
        return None
    ood_type = OOD.match(label)[1] if shared == "OOD" else ""
    return Label(shared=True, dataset=shared, ood_type=ood_type, n_repeats=int(repeats[:-3]), participant="")


def table_paths(root: Path, subject: str) -> list[Path]:
    found = root.glob(f"derivatives/glmsingle-tedana/{subject}/ses-0*/func/*_trials.tsv")
    return sorted(found)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


# Labels


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_labels_of_the_demo_bucket_parse_as_documented(subject, tiny):
    labels = {row["label"] for path in table_paths(tiny, subject) for row in rows_of(path)}
    parsed = {label: parse_label(label) for label in labels}
    assert parsed == {label: oracle(label) for label in labels}
    assert None not in parsed.values()
    assert {label.participant for label in parsed.values()} == {"", PARTICIPANTS[subject]}
    assert {label.ood_type for label in parsed.values()} == {"", *OOD_TYPES}
    assert {label.dataset for label in parsed.values()} == {"LAION", "NSD", "THINGS", "THINGS+", "OOD"}


@pytest.fixture(scope="module")
def published(reference: Path) -> dict[str, set[str]]:
    """Pool → the labels of all its published splits."""
    labels: dict[str, set[str]] = {}
    paths = sorted(reference.glob("*/*.json"))
    assert len(paths) == 72
    for path in paths:
        variant = json.loads(path.read_text(encoding="utf-8"))["variants"][0]
        labels.setdefault(path.parent.name, set()).update(variant["train_ids"], variant["test_ids"])
    return labels


def test_every_published_label_parses_as_documented(published):
    """All 25,052 labels of the real data set, with the block sizes of dataset.md §2."""
    labels = set().union(*published.values())
    assert len(labels) == 25_052
    parsed = {label: parse_label(label) for label in labels}
    assert parsed == {label: oracle(label) for label in labels}
    assert None not in parsed.values()
    blocks = Counter((label.shared, label.n_repeats, label.dataset) for label in parsed.values())
    assert blocks == {
        (True, 12, "LAION"): 641,
        (True, 12, "THINGS+"): 240,
        (True, 4, "NSD"): 240,
        (True, 4, "OOD"): 371,
        (False, 4, "LAION"): 5 * 4246,
        (False, 4, "THINGS+"): 5 * 322,
        (False, 4, "THINGS"): 5 * 144,
    }


def test_ood_types_of_the_published_split_are_counted_as_documented(reference):
    content = json.loads((reference / "shared/ood.json").read_text(encoding="utf-8"))
    test_ids = content["variants"][0]["test_ids"]
    assert Counter(parse_label(label).ood_type for label in test_ids) == OOD_TYPES


@pytest.mark.parametrize("subject", PARTICIPANTS)
def test_published_pools_hold_the_images_of_their_participant_only(subject, published):
    """The participant codes, not in the order of subjects, agree with the pools."""
    parsed = [parse_label(label) for label in published[subject]]
    assert Counter(label.participant for label in parsed if not label.shared) == {PARTICIPANTS[subject]: 4712}


HOSTILE = [
    *("", "\n", " ", ".jpg", "NA", "nan", "blank", "shared_", "shared_12rep_LAION_", "shared_12rep_LAION_.jpg"),
    *("shared_12rep_LAION_a.jpg\n", "shared_12rep_LAION_a.jpg ", " shared_12rep_LAION_a.jpg"),
    *("shared_12rep_LAION_a\nb.jpg", "shared_4rep_OOD__a.jpg", "shared_4rep_OOD_shape.jpg"),
    *("shared_4rep_OOD_shape_.jpg", "shared_4rep_OOD_a b_c.jpg", "shared_12rep_LAION_a.jpeg"),
    *("shared_12rep_LAION_a.JPG", "shared_12rep_LAION_a.gif", "shared_12rep_LAION_a", "shared_12rep_LAION_ajpg"),
    *("shared_12rep_LAION_a.jpg.txt", "shared_8rep_LAION_a.jpg", "shared_rep_LAION_a.jpg"),
    *("shared_12rep_THINGS_a.jpg", "shared_12rep_THINGSS_a.jpg", "shared_12rep_laion_a.jpg"),
    *("Shared_12rep_LAION_a.jpg", "unique_NSD_a_p01.jpg", "unique_OOD_a_p01.jpg", "unique_THINGS++_a_p01.jpg"),
    *("unique_4rep_LAION_a_p01.jpg", "unique_LAION_a_p06.jpg", "unique_LAION_a_p00.jpg", "unique_LAION_a_p1.jpg"),
    *("unique_LAION_a_p001.jpg", "unique_LAION_p01.jpg", "unique_LAION__p01.jpg", "unique_LAION_a.jpg"),
    *("unique_LAION_a_p01", "unique_LAION_a_p01.jpg ", "unique_LAION_a_P01.jpg", "shared_12rep%5FLAION_a.jpg"),
    *("shared%20_12rep_LAION_a.jpg", "x/shared_12rep_LAION_a.jpg", "shared_12rep_LAION_a%2Ejpg"),
]  # fmt: skip


@pytest.mark.parametrize("label", HOSTILE, ids=repr)
def test_what_is_no_label_is_none(label):
    """Nothing is stripped, decoded or guessed."""
    assert parse_label(label) is None


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("shared_4rep_OOD_unusual_Screenshot 2024-05-06 at 14.45.09.jpg", Label(True, "OOD", "unusual", 4, "")),
        ("shared_4rep_OOD_unusual_https___x.com_img%20a .jpg", Label(True, "OOD", "unusual", 4, "")),
        ("shared_4rep_OOD_illusion-classic_a_b.png", Label(True, "OOD", "illusion-classic", 4, "")),
        ("shared_12rep_THINGS+_kmeans_0_balloon.jpg", Label(True, "THINGS+", "", 12, "")),
        ("unique_THINGS+_a_p05.jpg", Label(False, "THINGS+", "", 4, "p05")),
        ("unique_THINGS_+_a_p02.jpg", Label(False, "THINGS", "", 4, "p02")),
        ("unique_LAION_p01_p02_p03.jpg", Label(False, "LAION", "", 4, "p03")),
        ("shared_4rep_NSD_a.jpg.png", Label(True, "NSD", "", 4, "")),
        ("unique_LAION_é 木_p01.jpg", Label(False, "LAION", "", 4, "p01")),
    ],
)
def test_odd_but_valid_labels(label, expected):
    assert parse_label(label) == expected


PIECES = st.sampled_from(
    [
        *("shared_", "unique_", "12rep_", "4rep_", "LAION", "THINGS+", "THINGS", "NSD", "OOD", "_", "shape", "p01"),
        *("_p05", "_p06", ".jpg", ".png", " ", "\n", "+", "a", "-", "."),
    ]
)


@given(label=st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20))
def test_any_text_parses_as_the_documented_grammar_does(label):
    assert parse_label(label) == oracle(label)


REST = st.text(st.characters(exclude_characters="\n\r\t\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
LABELS = st.one_of(
    st.builds("shared_12rep_{}_{}.jpg".format, st.sampled_from(["LAION", "THINGS+"]), REST),
    st.builds("shared_4rep_NSD_{}.png".format, REST),
    st.builds("shared_4rep_OOD_{}_{}.png".format, st.sampled_from(list(OOD_TYPES)), REST),
    st.builds("unique_{}_{}_p01.jpg".format, st.sampled_from(["LAION", "THINGS+", "THINGS"]), REST),
)


@given(label=LABELS)
def test_every_label_of_the_grammar_parses(label):
    """Labels hold any character but a newline: quotes, spaces, `%20`, other scripts."""
    assert parse_label(label) == oracle(label) is not None


# Tables

NAME = "s3://laion-fmri/x/trials.tsv"
A, B = "shared_12rep_LAION_a.jpg", "shared_4rep_OOD_shape_b c.png"
COLUMNS = ["session", "run", "beta_index", "label"]
HEADER = "\t".join(COLUMNS) + "\n"
GOOD = [("ses-01", "1", "0", A), ("ses-01", "1", "1", B), ("ses-01", "2", "2", A)]


def table(*rows: tuple[str, ...], header: str = HEADER) -> bytes:
    return (header + "".join("\t".join(row) + "\n" for row in rows)).encode()


def read(content: bytes, participant: str | None = "p01") -> pd.DataFrame:
    return read_trials(content, name=NAME, session="ses-01", participant=participant)


def values(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(frame.itertuples(index=False, name=None))


EXPECTED = [("ses-01", 1, 0, A), ("ses-01", 1, 1, B), ("ses-01", 2, 2, A)]
SAME_TABLE = {
    "as written": table(*GOOD),
    "byte-order mark": b"\xef\xbb\xbf" + table(*GOOD),
    "lines of Windows": table(*GOOD).replace(b"\n", b"\r\n"),
    "lines of old Macs": table(*GOOD).replace(b"\n", b"\r"),
    "no last newline": table(*GOOD)[:-1],
    "empty lines at the end": table(*GOOD) + b"\n\r\n\n",
    "run-01": table(*[(s, f"run-{int(r):02d}", b, lab) for s, r, b, lab in GOOD]),
    "padded runs": table(*[(s, f"00{r}", b, lab) for s, r, b, lab in GOOD]),
    "column behind": table(*[(*row, "x") for row in GOOD], header=HEADER[:-1] + "\textra\n"),
    "column in front": table(*[("NA", *row) for row in GOOD], header="\t" + HEADER),
    "session 1": table(*[("1", *row[1:]) for row in GOOD]),
    "session 01": table(*[("01", *row[1:]) for row in GOOD]),
    "session ses-1": table(*[("ses-1", *row[1:]) for row in GOOD]),
    "session ses-001": table(*[("ses-001", *row[1:]) for row in GOOD]),
    "runs as decimals": table(*[(s, f"{r}.0", b, lab) for s, r, b, lab in GOOD]),
    "columns reversed": table(*[row[::-1] for row in GOOD], header="\t".join(COLUMNS[::-1]) + "\n"),
    "two other columns of one name": table(*[("", *row, "") for row in GOOD], header="x\t" + HEADER[:-1] + "\tx\n"),
}


@pytest.mark.parametrize("content", SAME_TABLE.values(), ids=SAME_TABLE)
def test_forms_of_one_table_read_the_same(content):
    frame = read(content)
    assert list(frame.columns) == COLUMNS
    assert values(frame) == EXPECTED
    assert (frame["run"].dtype, frame["beta_index"].dtype) == (np.dtype(np.int64), np.dtype(np.int64))


@pytest.mark.parametrize(
    "rest", ['"', '"a', "'a'", ' " ', "#a", "NA", "nan", "%20", "a,b;c", "\x1c", "\u2028", "\x85", "é"]
)
def test_label_is_taken_verbatim(rest):
    """Quotes, comment signs, missing-value words and other scripts' line ends are part of a label."""
    label = f"shared_4rep_OOD_shape_{rest}.jpg"
    assert values(read(table(("ses-01", "1", "0", label)))) == [("ses-01", 1, 0, label)]


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_tables_of_the_demo_bucket_are_read(subject, tiny):
    """One session of sub-03 writes its runs as run-01."""
    paths = table_paths(tiny, subject)
    assert len(paths) == 3
    for path in paths:
        session = path.parts[-3]
        frame = read_trials(path.read_bytes(), name=path.name, session=session, participant=PARTICIPANTS[subject])
        expected = [
            (row["session"], int(row["run"].removeprefix("run-")), int(row["beta_index"]), row["label"])
            for row in rows_of(path)
        ]
        assert values(frame) == expected


@given(
    runs_and_labels=st.lists(st.tuples(st.integers(1, 9999), LABELS), min_size=1, max_size=20),
    columns=st.permutations([*COLUMNS, "other"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.booleans(),
)
def test_any_valid_table_reads_back(runs_and_labels, columns, end, mark):
    rows = [("ses-01", run, index, label) for index, (run, label) in enumerate(runs_and_labels)]
    cells = [dict(zip(COLUMNS, map(str, row), strict=True)) | {"other": "NA"} for row in rows]
    lines = ["\t".join(columns), *("\t".join(cell[column] for column in columns) for cell in cells)]
    content = end.join([*lines, ""]).encode("utf-8-sig" if mark else "utf-8")
    assert values(read(content)) == rows


BROKEN = {
    "empty file": (b"", "expected the columns session, run, beta_index, label"),
    "newlines only": (b"\n\n", "expected the columns"),
    "spaces": (b"   \n", "expected the columns"),
    "header only": (HEADER.encode(), "expected 1 to 9999 trials, found 0"),
    "no header": (table(*GOOD, header=""), "expected the columns .* found 'ses-01, 1, 0, "),
    "missing column": (table(("ses-01", "1"), header="session\trun\n"), "expected the columns .* found 'session, run'"),
    "misspelt column": (table(*GOOD, header=HEADER.replace("label", "Label")), "expected the columns"),
    "spaces in the header": (table(*GOOD, header=HEADER.replace("run", " run")), "expected the columns"),
    "column twice": (table(*[(*row, "x") for row in GOOD], header=HEADER[:-1] + "\tlabel\n"), "each once, found"),
    "session twice": (table(*[("ses-02", *row) for row in GOOD], header="session\t" + HEADER), "each once, found"),
    "commas": (table(*GOOD).replace(b"\t", b","), "expected the columns"),
    "web page": (b"<html>\n<body>404</body></html>\n", "expected the columns .* found '<html>'"),
    "long junk": (b"x" * 100_000, "expected the columns .* found 'x{200}…'"),
    "short row": (table(GOOD[0], ("ses-01", "1")), "row 1: expected 4 fields, found 2"),
    "cut off": (table(*GOOD)[:-30], "row 2: expected 4 fields, found"),
    "cut off in a label": (table(*GOOD)[:-3], "row 2: expected a stimulus label .* found 'shared_12rep_LAION_a.j'"),
    "empty line inside": (table(GOOD[0]) + b"\n" + table(GOOD[1], header=""), "row 1: expected 4 fields, found 1"),
    "long row": (table(GOOD[0], (*GOOD[1], "x")), "row 1: expected 4 fields, found 5"),
    "long first row": (table((*GOOD[0], "x"), GOOD[1]), "row 0: expected 4 fields, found 5"),
    "every row long": (table(*[(*row, "x") for row in GOOD]), "row 0: expected 4 fields, found 5"),
    "every row shifted": (table(*[("x", *row) for row in GOOD]), "row 0: expected 4 fields, found 5"),
    "tabs at the ends": (table(*[(*row, "") for row in GOOD]), "row 0: expected 4 fields, found 5"),
    "tab in a label": (table(("ses-01", "1", "0", "shared_12rep_LAION_a\tb.jpg")), "row 0: expected 4 fields, found 5"),
    "other session": (table(GOOD[0], ("ses-02", "1", "1", B)), "row 1: expected the session 'ses-01', found 'ses-02'"),
    "session of another number": (table(("10", "1", "0", A)), "row 0: expected the session 'ses-01', found '10'"),
    "session empty": (table(("", "1", "0", A)), "row 0: expected the session 'ses-01', found ''"),
    "session NA": (table(("NA", "1", "0", A)), "row 0: expected the session 'ses-01', found 'NA'"),
    "index gap": (table(GOOD[0], GOOD[2]), "row 1: expected the beta_index 1, found '2'"),
    "index repeated": (table(GOOD[0], GOOD[0]), "row 1: expected the beta_index 1, found '0'"),
    "index reordered": (table(GOOD[1], GOOD[0]), "row 0: expected the beta_index 0, found '1'"),
    "index from 1": (table(("ses-01", "1", "1", A)), "row 0: expected the beta_index 0, found '1'"),
    "index 00": (table(("ses-01", "1", "00", A)), "row 0: expected the beta_index 0, found '00'"),
    "index 0.0": (table(("ses-01", "1", "0.0", A)), "row 0: expected the beta_index 0, found '0.0'"),
    "index in other digits": (table(("ses-01", "1", "٠", A)), "row 0: expected the beta_index 0, found '٠'"),
    "index empty": (table(("ses-01", "1", "", A)), "row 0: expected the beta_index 0, found ''"),
    **{
        f"run {run}"[:20]: (table(GOOD[0], ("ses-01", run, "1", A)), f"row 1: expected a run .* found '{run}'")
        for run in ("0", "00", "-1", "x", "", "1.5", "run-", "run-00", "run-x", "Run-01", " 1", "nan", "1e2", "١")
    },
    "run of five digits": (table(("ses-01", "32768", "0", A)), "row 0: expected a run .* found '32768'"),
    "run of many digits": (table(("ses-01", "9" * 5000, "0", A)), "row 0: expected a run"),
    "label empty": (table(GOOD[0], ("ses-01", "1", "1", "")), "row 1: expected a stimulus label .* found ''"),
    **{
        f"label {label}": (table(GOOD[0], ("ses-01", "1", "1", label)), f"row 1: .* label .* found '{label}'")
        for label in ("NA", "nan", "NULL", "None", "blank", f"{A} ", f" {A}", f'"{A}"', A.upper())
    },
    "other participant": (table(("ses-01", "1", "0", "unique_LAION_a_p02.jpg")), "row 0: .* participant p01, .*_p02"),
    "NUL in a label": (table(GOOD[0], ("ses-01", "1", "1", "shared_12rep_LAION_\0.jpg")), "line 3: .*NUL"),
    "NULs": (bytes(512), "line 1: .*NUL"),
    "file with a hole": (table(*GOOD)[:60] + bytes(len(table(*GOOD)) - 60), "line 2: .*NUL"),
    "Latin-1": (table(GOOD[0]) + "ses-01\t1\t1\tshared_4rep_OOD_shape_é.jpg\n".encode("latin-1"), "line 3: .*0xe9"),
    "UTF-16": (table(*GOOD).decode().encode("utf-16"), "line 1: expected UTF-8, found the byte 0xff"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(range(256)), "line 1: expected UTF-8, found the byte 0x8b"),
    "half a character": (table(GOOD[0]) + b"ses-01\t1\t1\tshared_4rep_OOD_shape_\xc3", "line 3: .*0xc3"),
    "too many trials": (table(*[("ses-01", "1", str(i), A) for i in range(10_000)]), "1 to 9999 rows, found more"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_table_names_file_and_place(content, message):
    """Never another exception, never a table with a hole."""
    with pytest.raises(DataIntegrityError, match=message) as caught:
        read(content)
    assert str(caught.value).startswith(f"{NAME}: ")
    assert str(caught.value).endswith("Fetch the file again; if it persists, report it.")
    assert len(str(caught.value)) < 6000


def test_longest_session_that_the_index_can_number_is_read():
    """9999 trials fit; one more would take the numbers of the next session."""
    frame = read(table(*[("ses-01", "1", str(index), f"shared_4rep_NSD_{index}.jpg") for index in range(9999)]))
    assert stack_sessions([(1, frame)]).index[-1] == 19_998


def test_participant_is_checked_only_where_it_is_known():
    """A subject that is not among the five known ones can be read all the same."""
    content = table(("ses-01", "1", "0", "unique_LAION_a_p02.jpg"), ("ses-01", "1", "1", A))
    assert len(read(content, participant=None)) == len(read(content, participant="p02")) == 2


@given(content=st.binary(max_size=60))
@example(content=b"\xef\xbb\xbf")
@example(content=b"\x00")
def test_any_bytes_are_refused_with_the_file_name(content):
    """A file of 60 bytes cannot be a trial table."""
    with pytest.raises(DataIntegrityError, match=re.escape(NAME)):
        read(content)


@given(start=st.integers(0, 130), length=st.integers(0, 40), inserted=st.binary(max_size=3))
def test_a_damaged_table_is_refused_or_read_as_it_stands(start, length, inserted):
    """Damage that leaves a valid table is read verbatim, row by row; anything else is refused."""
    content = table(*GOOD)
    damaged = content[:start] + inserted + content[start + length :]
    try:
        frame = read(damaged)
    except DataIntegrityError:
        frame = None
    if frame is not None:
        text = damaged.decode("utf-8-sig").rstrip("\r\n")
        rows = list(csv.DictReader(io.StringIO(text, newline=None), delimiter="\t", quoting=csv.QUOTE_NONE))
        raw = [
            ("ses-01", int(row["run"].removeprefix("run-").split(".")[0]), int(row["beta_index"]), row["label"])
            for row in rows
        ]
        assert values(frame) == raw
        assert [row["beta_index"] for row in rows] == [str(k) for k in range(len(rows))]
        assert all(row["label"] for row in rows)


# Stacked sessions


def frame_of(session: int, labels: list[str]) -> pd.DataFrame:
    name = f"ses-{session:02d}"
    rows = [(name, str(1 + index // 9), str(index), label) for index, label in enumerate(labels)]
    return read_trials(table(*rows), name=NAME, session=name)


def stacked_of(*sessions: tuple[int, list[str]]) -> pd.DataFrame:
    return stack_sessions([(number, frame_of(number, labels)) for number, labels in sessions])


FEW_LABELS = st.sampled_from([A, B, "unique_THINGS+_a_p01.jpg", "shared_4rep_NSD_x.jpg", "unique_LAION_p01_p02.png"])


@given(
    sessions=st.dictionaries(st.integers(1, 99), st.lists(FEW_LABELS, min_size=1, max_size=12), min_size=1, max_size=5)
)
def test_stacked_sessions_agree_with_plain_counting(sessions):
    ordered = sorted(sessions.items())
    stacked = stacked_of(*ordered)
    seen: Counter[str] = Counter()
    expected = []
    for number, labels in ordered:
        for index, label in enumerate(labels):
            parsed = oracle(label)
            coordinates = (parsed.shared, parsed.dataset, parsed.ood_type, parsed.n_repeats)
            expected.append((f"ses-{number:02d}", 1 + index // 9, index, label, *coordinates, seen[label]))
            seen[label] += 1
    assert values(stacked) == expected
    assert stacked.index.tolist() == [
        number * 10_000 + index for number, labels in ordered for index in range(len(labels))
    ]
    assert stacked.index.name == TRIAL
    assert stacked.index.is_monotonic_increasing
    assert stacked.index.is_unique


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_repetitions_of_the_demo_bucket(subject, tiny):
    """Every planned repetition is there but one; counting never starts again with a session."""
    tables = []
    for path in table_paths(tiny, subject):
        session = path.parts[-3]
        tables.append((int(session[4:]), read_trials(path.read_bytes(), name=path.name, session=session)))
    stacked = stack_sessions(tables)
    labels = [row["label"] for path in table_paths(tiny, subject) for row in rows_of(path)]
    assert stacked["repetition"].tolist() == [labels[:k].count(label) for k, label in enumerate(labels)]
    planned = stacked.groupby("label")["n_repeats"].first()
    assert (planned - stacked.groupby("label")["repetition"].max() - 1).sum() == 1
    assert any(stacked.loc[stacked["session"] == "ses-02", "repetition"] > 2)


def test_adding_sessions_changes_nothing_for_earlier_ones():
    """The same trial has the same number and repetition whatever is loaded after it."""
    first, second = (1, [A, B, A]), (7, [B, A, A])
    alone, both = stacked_of(first), stacked_of(first, second)
    pd.testing.assert_frame_equal(both.iloc[:3], alone)
    assert both.index.tolist() == [10_000, 10_001, 10_002, 70_000, 70_001, 70_002]
    assert both["repetition"].tolist() == [0, 0, 1, 1, 2, 3]


def test_stacking_leaves_the_tables_as_they_were():
    frame = frame_of(1, [A, B])
    before = frame.copy(deep=True)
    stack_sessions([(1, frame)])
    pd.testing.assert_frame_equal(frame, before)


def test_repetitions_up_to_128_presentations_are_counted():
    assert stacked_of((1, [A] * 100), (2, [A] * 28))["repetition"].tolist() == list(range(128))


def test_more_presentations_are_refused():
    """A count that wrapped round to -128 would pass for a number."""
    with pytest.raises(DataIntegrityError, match=f"show {A!r} 129 times; expected 12"):
        stacked_of((1, [B, *[A] * 100]), (2, [A] * 29))


# Selections and coordinates


@pytest.fixture(scope="module")
def stacked(tiny) -> pd.DataFrame:
    tables = [(k, path) for k, path in enumerate(table_paths(tiny, "sub-01"), start=1)]
    return stack_sessions([(k, read_trials(path.read_bytes(), name="t", session=f"ses-{k:02d}")) for k, path in tables])


@pytest.mark.parametrize(
    ("stimuli", "start"), [("shared", "shared_"), ("unique", "unique_"), ("ood", "shared_4rep_OOD_")]
)
def test_stimuli_are_told_by_the_label(stimuli, start, stacked):
    chosen = stimuli_of(stacked, stimuli)
    assert (chosen.dtype, chosen.shape) == (np.dtype(bool), (len(stacked),))
    assert chosen.tolist() == [label.startswith(start) for label in stacked["label"]]
    assert 0 < chosen.sum() < len(stacked)


def test_every_kind_of_stimuli_is_tested():
    assert set(STIMULI) == {"shared", "unique", "ood"}


DTYPES = {
    "trial": np.int64,
    "session": object,
    "run": np.int64,
    "beta_index": np.int64,
    "label": object,
    "shared": np.bool_,
    "dataset": object,
    "ood_type": object,
    "n_repeats": np.int64,
    "repetition": np.int64,
}  # the contract's table; texts are objects


@pytest.mark.parametrize("rows", [slice(None), slice(5, 6), slice(0, 0)], ids=["all", "one", "none"])
def test_coordinates_have_the_dtypes_of_the_contract(rows, stacked):
    """Whatever the selection, an empty one too."""
    some = stacked[rows]
    coordinates = trial_coordinates(some)
    assert list(coordinates) == list(DTYPES)
    for name, (dims, array, attrs) in coordinates.items():
        assert dims == (TRIAL,)
        assert type(array) is np.ndarray
        assert array.dtype == DTYPES[name], name
        assert array.tolist() == (some.index if name == TRIAL else some[name]).tolist()
        assert attrs["long_name"]
    texts = [text for name in ("session", "label", "dataset", "ood_type") for text in coordinates[name][1]]
    assert {type(text) for text in texts} <= {str}


def test_coordinates_leave_out_what_is_not_known(stacked):
    """Where earlier tables are missing, repetition cannot be counted, and is absent instead of wrong."""
    assert "repetition" not in trial_coordinates(stacked.drop(columns="repetition"))


def test_coordinates_make_an_index_for_selections(stacked):
    """A Dataset with them selects by trial number and by label."""
    dataset = xr.Dataset(coords=trial_coordinates(stacked))
    assert dataset.sel(trial=20_000)["session"].item() == "ses-02"
    chosen = dataset.sel(trial=dataset["ood_type"] == "gabor")
    assert set(chosen["dataset"].values) == {"OOD"}
