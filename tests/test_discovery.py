"""What the bucket holds, from its listings: their number, their use, and what is said where something is missing."""

from __future__ import annotations

import shutil
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from faulty_proxy import FaultyProxy
from tiers import full

from intake_laion_fmri import layout, open_catalog
from intake_laion_fmri.demo import subject_truth
from intake_laion_fmri.discovery import (
    describe,
    get_categories,
    get_rois,
    get_sessions,
    get_subjects,
    inspect_bucket,
    inventory,
)
from intake_laion_fmri.errors import (
    BucketUnreachableError,
    IncompleteBucketWarning,
    NotInBucketError,
)
from intake_laion_fmri.reading import recent_listings
from intake_laion_fmri.reading.contents import SubjectContents, subject_contents, subjects
from intake_laion_fmri.remote.access import Bucket, mirror_alone, open_bucket
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.subject import load_subject

BETAS, ROIS = "derivatives/glmsingle-tedana", "derivatives/rois"
SUBJECTS = ["sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
MAIN = {
    *("betas", "trials", "session_noise_ceiling", "noise_ceiling", "session_r2", "r2_mean", "hrf_index"),
    *("ridge_fraction", "roi", "roi_gii", "roi_label"),
}
IMAGES = {"brain_mask", "t1w", "t2w", "full_brain_mask", "full_t1w", "full_t2w"}
CATEGORIES = ["body", "character", "face", "laion", "motion", "object", "place", "retinotopy"]
SUB_01 = [
    *("EBA", "FBA", "FFA1", "FFA2", "IPCS", "IPS0", "LO1", "LO2", "MPA", "MST"),
    *("MT", "OFA", "OPA", "PPA", "SPCS", "TO1", "TO2", "V1d", "V1v", "V2d"),
    *("V2v", "V3A", "V3B", "V3d", "V3v", "VO1", "VO2", "VWFA1", "VWFA2", "hV4"),
    *(
        "laionEVC",
        "laiondorsal",
        "laiongeneral",
        "laionlateral",
        "laionventral",
        "lobjects",
        "mfswords",
        "pSTSfaces",
        "pSTSwords",
        "vobjects",
    ),
]


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_listings, "_listings", {})


# --- what there is ----------------------------------------------------------------------------------------------------


def test_subjects_and_sessions(small: Path, tiny: Path) -> None:
    assert get_subjects(bucket=small) == ["sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
    assert get_subjects(bucket=tiny) == ["sub-01", "sub-03"]
    for subject in ("sub-01", "01", "1"):
        assert get_sessions(subject, bucket=tiny) == ["ses-01", "ses-02", "ses-03"]


def test_held_out_sessions_are_told_apart(tiny: Path) -> None:
    """Their keys are there: no session of a subject, and marked in the inventory."""
    assert "ses-31" not in get_sessions("sub-01", bucket=tiny)
    table = inventory(bucket=tiny)
    assert set(table.loc[table["held_out"], "session"]) == {"ses-31"}
    public = table[(table["session"] == "ses-31") & ~table["held_out"]]
    assert set(public["group"]) == {"localizers"}
    assert (table["held_out"] & (table["group"] != "events")).sum() == 2 * 6


def test_rois_of_the_page(small: Path) -> None:
    """By subject and category: the names of sub-01, the documented counts."""
    assert get_rois("sub-01", bucket=small) == SUB_01
    counts = {one: (len(get_rois(one, bucket=small)), len(get_rois(one, "face", bucket=small))) for one in SUBJECTS}
    assert counts == {"sub-01": (40, 4), "sub-03": (43, 6), "sub-05": (41, 6), "sub-06": (41, 5), "sub-07": (41, 6)}
    assert get_categories("sub-01", bucket=small) == CATEGORIES
    by_category = {category: get_rois("sub-01", category=category, bucket=small) for category in CATEGORIES}
    assert by_category["face"] == ["FFA1", "FFA2", "OFA", "pSTSfaces"]
    assert sorted(name for names in by_category.values() for name in names) == SUB_01


def test_rois_are_those_of_the_truth(tiny: Path) -> None:
    for subject in ("sub-01", "sub-03"):
        assert get_rois(subject, bucket=tiny) == sorted(subject_truth(subject, scale="tiny").rois)


@pytest.mark.parametrize("ending", ["_mask.nii.gz", "_mask.func.gii", "_mask.label"])
def test_an_roi_in_one_format_only(own_tiny: Path, ending: str) -> None:
    """It exists; only as a volume can it be opened with the betas."""
    for path in (own_tiny / ROIS / "sub-01").rglob("*label-FFA-1_mask*"):
        if not path.name.endswith(ending):
            path.unlink()
    assert "FFA1" in get_rois("sub-01", "face", bucket=own_tiny)
    volumes = {roi.name for roi in subject_contents(open_bucket(own_tiny), "sub-01").rois}
    assert ("FFA1" in volumes) == (ending == "_mask.nii.gz")
    assert len(volumes) in (39, 40)


def test_two_keys_with_one_public_name(own_tiny: Path) -> None:
    """It is listed once."""
    folder = own_tiny / ROIS / "sub-01/face"
    name = "sub-01_space-T1w_res-1pt8_label-{}_mask.nii.gz"
    shutil.copy(folder / name.format("FFA-1"), folder / name.format("FFA1"))
    assert get_rois("sub-01", "face", bucket=own_tiny) == ["FFA1", "FFA2", "OFA", "pSTSfaces"]
    assert "face" in get_categories("sub-01", bucket=own_tiny)
    shutil.copy(folder / name.format("FFA-1"), folder.with_name("body") / name.format("FFA-1"))
    assert "FFA1" in get_rois("sub-01", "body", bucket=own_tiny, refresh=True)
    assert "FFA1" in get_rois("sub-01", "face", bucket=own_tiny)
    assert get_rois("sub-01", bucket=own_tiny).count("FFA1") == 1


def test_description(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's block, but for the address."""
    assert describe(bucket=small) is None
    assert capsys.readouterr().out.splitlines() == [
        "LAION-fMRI Dataset",
        f"  Bucket:    {small}",
        "  Subjects:  5 (sub-01, sub-03, sub-05, sub-06, sub-07)",
        f"  ROIs:      {', '.join(SUB_01)}",
    ]


def test_inspection(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect_bucket(bucket=small) is None
    assert capsys.readouterr().out.splitlines() == [
        f"Bucket: {small}",
        "Top-level prefixes (8):",
        "  archive/",
        "  derivatives/",
        "  stimuli/",
        *(f"  {subject}/" for subject in SUBJECTS),
        f"{BETAS}/: 5 entries, 5 sub-* entries",
        f"{ROIS}/: 5 entries, 5 sub-* entries",
        "derivatives/freesurfer/: 5 entries, 5 sub-* entries",
        "derivatives/anatomical/: 5 entries, 5 sub-* entries",
        "derivatives/localizers/: 5 entries, 5 sub-* entries",
        "sub-*/  (raw BIDS root): 8 entries, 5 sub-* entries",
    ]


def test_inspection_counts_what_is_no_subject(own_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_tiny / ROIS / "group").mkdir()
    (own_tiny / "sourcedata").mkdir()
    inspect_bucket(bucket=own_tiny)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:6] == ["Top-level prefixes (6):", "  archive/", "  derivatives/", "  sourcedata/", "  stimuli/"]
    assert f"{ROIS}/: 3 entries, 2 sub-* entries" in lines
    assert get_subjects(bucket=own_tiny) == ["sub-01", "sub-03"]


def test_the_inventory(tiny: Path) -> None:
    """A row per object that this package reads, with its size; everything else in the trees is left out."""
    table = inventory(bucket=tiny)
    columns = ["subject", "session", "roi", "category", "group", "kind", "key", "bytes", "held_out"]
    assert table.columns.tolist() == columns
    assert table["key"].is_unique
    assert table["key"].tolist() == sorted(table["key"])
    assert {row.key: row.bytes for row in table.itertuples()} == {
        key: (tiny / key).stat().st_size for key in table["key"]
    }
    rest = {
        path.relative_to(tiny).as_posix()
        for tree in (BETAS, ROIS, "derivatives/anatomical")
        for path in (tiny / tree).rglob("*")
        if path.is_file()
    } - set(table["key"])
    assert all(key.endswith(".json") or "_res-1pt5_" in key for key in rest), rest
    one = table[(table["subject"] == "sub-01") & (table["roi"] == "FFA1")]
    assert sorted(one["kind"]) == ["roi", "roi_gii", "roi_gii", "roi_label", "roi_label"]
    assert set(one["category"]) == {"face"}
    betas = table[(table["kind"] == "betas") & ~table["held_out"]]
    assert Counter(betas["subject"]) == {"sub-01": 3, "sub-03": 3}
    assert not (betas["roi"] != "").any()
    by_kind = Counter(table.loc[table["subject"] == "sub-01", "kind"])
    expected = {
        **dict.fromkeys(["trials", "betas", "session_noise_ceiling", "session_r2", "hrf_index", "ridge_fraction"], 4),
        **dict.fromkeys(["r2_mean", *IMAGES], 1),
        **dict.fromkeys(["roi_gii", "roi_label"], 80),
        **dict.fromkeys(["noise_ceiling", "freesurfer_image"], 3),
        "surface": 18,
        "annotation": 2,
        "surface_label": 2,
        "transform": 1,
        "roi": 40,
    }
    assert {kind: by_kind[kind] for kind in expected} == expected
    assert (table["bytes"].dtype.kind, table["held_out"].dtype.kind) == ("i", "b")


# --- what is missing --------------------------------------------------------------------------------------------------


ASK: list[Callable[..., Any]] = [get_subjects, describe, inspect_bucket, inventory]


@pytest.mark.parametrize("ask", ASK)
def test_a_partly_filled_bucket(own_tiny: Path, ask: Callable[..., Any]) -> None:
    """One warning, at the caller's line, that says which tree misses whom; the union is given."""
    shutil.rmtree(own_tiny / ROIS / "sub-01")
    shutil.rmtree(own_tiny / BETAS / "sub-03")
    message = f"is incomplete: {BETAS} has no sub-03; {ROIS} has no sub-01"
    with pytest.warns(IncompleteBucketWarning, match=message) as caught:
        found = ask(bucket=own_tiny)
    assert [warning.filename for warning in caught] == [__file__]
    if ask is get_subjects:
        assert found == ["sub-01", "sub-03"]
    if ask is inventory:
        assert set(found["subject"]) == {"", "sub-01", "sub-03"}


def test_a_subject_that_is_there_in_part(own_tiny: Path) -> None:
    """Nothing where there is nothing, with the reason."""
    shutil.rmtree(own_tiny / ROIS / "sub-01")
    shutil.rmtree(own_tiny / BETAS / "sub-03")
    for ask, subject in ((get_rois, "sub-01"), (get_sessions, "sub-03"), (get_categories, "sub-01")):
        with pytest.warns(IncompleteBucketWarning, match=f"has no {subject}"):
            assert ask(subject, bucket=own_tiny) == []
    assert get_sessions("sub-01", bucket=own_tiny) == ["ses-01", "ses-02", "ses-03"]


def test_a_missing_tree(own_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(own_tiny / ROIS)
    with pytest.warns(IncompleteBucketWarning, match=f"{ROIS} has no sub-01, sub-03"):
        inspect_bucket(bucket=own_tiny)
    assert f"{ROIS}/: 0 entries, 0 sub-* entries" in capsys.readouterr().out.splitlines()


def test_a_whole_bucket_warns_of_nothing(tiny: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for ask in ASK:
            ask(bucket=tiny)
    assert not caught


@pytest.mark.parametrize("ask", [*ASK, lambda **place: get_sessions("sub-01", **place)])
def test_no_bucket(tmp_path: Path, ask: Callable[..., Any]) -> None:
    with pytest.raises(NotInBucketError, match=r"There is no bucket or folder .*nowhere"):
        ask(bucket=tmp_path / "nowhere")
    with pytest.raises(NotInBucketError, match=f"holds no folder '{BETAS}'"):
        ask(bucket=tmp_path)


@pytest.mark.parametrize("ask", [*ASK, lambda **place: get_rois("sub-01", **place)])
def test_an_unreachable_bucket(ask: Callable[..., Any]) -> None:
    with pytest.raises(BucketUnreachableError, match=r"http://127\.0\.0\.1:9"):
        ask(bucket="http://127.0.0.1:9/bucket")


def test_no_such_bucket_on_a_server(s3: Any) -> None:
    for ask in (*ASK, lambda **place: get_rois("sub-01", **place)):
        with pytest.raises(NotInBucketError, match="There is no bucket or folder 's3://no-such-bucket'"):
            ask(bucket="s3://no-such-bucket", storage_options=s3.storage_options)


@pytest.mark.parametrize("ask", [get_sessions, get_rois, get_categories])
def test_an_unknown_subject(tiny: Path, ask: Callable[..., Any]) -> None:
    with pytest.raises(
        ValueError, match=r"Unknown subject of .*'sub-02'\. Did you mean 'sub-0.*Valid: sub-01, sub-03\."
    ):
        ask("sub-02", bucket=tiny)
    with pytest.raises(ValueError, match="Not a subject"):
        ask("", bucket=tiny)


def test_an_unknown_category(tiny: Path) -> None:
    message = (
        r"Unknown ROI category of sub-01 in .*'faces'\. Did you mean 'face' or 'place'\? Valid: body, character, face"
    )
    with pytest.raises(ValueError, match=message):
        get_rois("sub-01", "faces", bucket=tiny)
    with pytest.raises(ValueError, match="Unknown ROI category"):
        get_rois("sub-01", "", bucket=tiny)


# --- listings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(s3: Any) -> Iterator[FaultyProxy]:
    """Between the reader and the server with the tiny bucket; nothing was asked for through it yet."""
    with FaultyProxy.before(s3.endpoint) as proxy:
        yield proxy


def through(proxy: FaultyProxy, url: str) -> dict[str, Any]:
    return {"bucket": url, "storage_options": {"client_kwargs": {"endpoint_url": proxy.endpoint}}}


def listings(proxy: FaultyProxy) -> list[str]:
    """What was asked for, which must be listings; forgets it."""
    seen = [line.split()[1] for line in proxy.seen]
    proxy.seen.clear()
    assert all("list-type=2" in line for line in seen)
    return seen


COSTS: list[tuple[Callable[..., Any], int]] = [
    (get_subjects, 2),
    (describe, 3),
    (inspect_bucket, 6),
    (inventory, 2 + 4 + 7 * 2),
    (lambda **place: get_sessions("sub-03", **place), 1),
    (lambda **place: get_rois("sub-03", **place), 1),
    (lambda **place: get_categories("sub-03", **place), 1),
]


@pytest.mark.parametrize(("ask", "number"), COSTS)
def test_the_number_of_listings(s3: Any, proxy: FaultyProxy, tiny: Path, ask: Callable[..., Any], number: int) -> None:
    """Those that the docstrings state, each once; none in a second call; all again on request."""
    place = through(proxy, s3.url)
    ask(**place)
    seen = listings(proxy)
    assert len(seen) == number
    assert len(set(seen)) == number
    ask(**place)
    again = [unquote(line.partition("prefix=")[2].partition("&")[0]) for line in listings(proxy)]
    assert [prefix for prefix in again if (tiny / prefix).exists()] == []  # an absent folder may be there later
    ask(**place, refresh=True)
    assert sorted(listings(proxy)) == sorted(seen)


def test_the_page_asks_little(s3: Any, proxy: FaultyProxy) -> None:
    """All of its questions: five trees, the root, and the ROIs of two subjects."""
    place = through(proxy, s3.url)
    describe(**place)
    for category in CATEGORIES:
        get_rois("sub-01", category, **place)
    for subject in get_subjects(**place):
        get_rois(subject, **place)
        get_rois(subject, category="face", **place)
    inspect_bucket(**place)
    assert len(listings(proxy)) == 5 + 1 + 2


def test_refreshing_in_an_incomplete_bucket(s3: Any, proxy: FaultyProxy) -> None:
    """No tree is listed twice for one answer."""
    s3.client.create_bucket(Bucket="incomplete", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for key in (f"{BETAS}/sub-01/x", f"{BETAS}/sub-03/x", f"{ROIS}/sub-03/x"):
        s3.client.put_object(Bucket="incomplete", Key=key, Body=b"x")
    with pytest.warns(IncompleteBucketWarning):
        describe(**through(proxy, "s3://incomplete"), refresh=True)
    assert len(listings(proxy)) == 3


# --- what is listed of a subject --------------------------------------------------------------------------------------


def listed_kinds(contents: SubjectContents) -> set[str]:
    return {parsed.kind for parsed in map(layout.parse_key, contents.objects) if parsed}


@pytest.mark.parametrize(("asked", "number", "kinds"), [({}, 2, MAIN), ({"anatomy": True}, 3, MAIN | IMAGES)])
def test_what_is_listed(
    s3: Any, proxy: FaultyProxy, tiny: Path, asked: dict[str, bool], number: int, kinds: set[str]
) -> None:
    """The same objects of a server and of a folder."""
    contents = subject_contents(open_bucket(**through(proxy, s3.url)), "sub-01", **asked)
    assert len(set(listings(proxy))) == number
    assert listed_kinds(contents) == kinds
    on_disk = subject_contents(open_bucket(tiny), "sub-01", **asked)
    assert contents.objects.keys() == on_disk.objects.keys()
    assert contents.sessions == on_disk.sessions == ("ses-01", "ses-02", "ses-03")
    assert len(contents.rois) == len(on_disk.rois) == 40
    assert all(info.size == (tiny / key).stat().st_size for key, info in contents.objects.items())


@full("writes a full-size listing to a server; listings are counted in smaller buckets too")
def test_a_subject_at_full_size(s3: Any, proxy: FaultyProxy, tiny: Path) -> None:
    """Of 34 sessions, four of them held out, 40 ROIs, all their maps, surfaces and sidecars: less than 200 kB."""
    s3.client.create_bucket(Bucket="full-size", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    trees = [tiny / folder / "sub-01" for folder in (BETAS, ROIS)]
    keys = [path.relative_to(tiny).as_posix() for tree in trees for path in tree.rglob("*") if path.is_file()]
    sessions = [f"ses-{number:02d}" for number in range(1, 35)]
    every = {key.replace("ses-01", session) for session in sessions for key in keys if "ses-01" in key}
    every |= {key for key in keys if "ses-" not in key}
    assert len(every) > 34 * 9 + 40 * 5
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.client.put_object(Bucket="full-size", Key=key, Body=b"x"), every))
    contents = subject_contents(open_bucket(**through(proxy, "s3://full-size")), "sub-01")
    assert contents.sessions == tuple(sessions[:30])
    assert len(contents.rois) == 40
    assert proxy.n_bytes < 200_000


def test_a_subject_of_which_only_surfaces_are_there(tmp_path: Path) -> None:
    """It is no unknown subject."""
    place = tmp_path / ROIS / "sub-01/face/sub-01_hemi-L_space-fsnative_label-OFA_mask.label"
    place.parent.mkdir(parents=True)
    place.touch()
    contents = subject_contents(open_bucket(tmp_path), "sub-01")
    assert listed_kinds(contents) == {"roi_label"}
    assert contents.rois == ()


def test_what_is_new_in_a_folder_is_seen(own_tiny: Path) -> None:
    """Anything may have put it there, a mirror's run in this process among it."""
    subject = load_subject("sub-01", bucket=own_tiny)
    assert get_sessions("sub-01", bucket=own_tiny) == subject.get_sessions() == ["ses-01", "ses-02", "ses-03"]
    before = get_subjects(bucket=own_tiny)
    shutil.rmtree(own_tiny / BETAS / "sub-01/ses-02")
    assert get_sessions("sub-01", bucket=own_tiny) == subject.get_sessions() == ["ses-01", "ses-03"]
    for tree in (BETAS, ROIS):
        shutil.rmtree(own_tiny / tree / "sub-03")
    assert get_subjects(bucket=own_tiny) == ["sub-01"] != before
    source = open_catalog(bucket=own_tiny).inventory
    rows = len(source.read())
    rois = get_rois("sub-01", "face", bucket=mirror_alone(MirrorFolder(own_tiny)))
    shutil.rmtree(own_tiny / ROIS / "sub-01" / "face")
    assert len(source.read()) < rows
    assert not {*rois} & {*get_rois("sub-01", bucket=mirror_alone(MirrorFolder(own_tiny)))}


def test_what_is_new_on_a_server_is_seen_after_a_while(
    s3: Any, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stated time, or at once on request."""
    s3.client.create_bucket(Bucket="growing", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    place = through(proxy, "s3://growing")
    for number, wanted in ((1, ["sub-01"]), (3, ["sub-01"]), (5, ["sub-01", "sub-03", "sub-05"])):
        for tree in (BETAS, ROIS):
            s3.client.put_object(Bucket="growing", Key=f"{tree}/sub-0{number}/x", Body=b"x")
        monkeypatch.setattr(recent_listings, "LISTING_SECONDS", -1 if number == 5 else 300)
        assert get_subjects(**place) == wanted
    assert len(recent_listings._listings) == 1  # outdated ones are dropped
    monkeypatch.setattr(recent_listings, "LISTING_SECONDS", 300)
    s3.client.put_object(Bucket="growing", Key=f"{BETAS}/sub-06/x", Body=b"x")
    with pytest.warns(IncompleteBucketWarning):
        assert "sub-06" in get_subjects(**place, refresh=True)


def test_what_was_missing_is_asked_for_again(tiny: Path, tmp_path: Path) -> None:
    """A bucket that is made after a first vain attempt is found, in the same notebook."""
    with pytest.raises(NotInBucketError):
        get_subjects(bucket=tmp_path / "later")
    with pytest.raises(NotInBucketError):
        get_rois("sub-01", bucket=tmp_path / "later")
    shutil.copytree(tiny, tmp_path / "later")
    assert get_subjects(bucket=tmp_path / "later") == ["sub-01", "sub-03"]
    assert len(get_rois("sub-01", bucket=tmp_path / "later")) == 40


def test_what_is_given_can_be_changed(tiny: Path) -> None:
    """An answer is the caller's own."""
    get_subjects(bucket=tiny).clear()
    assert get_subjects(bucket=tiny)
    for ask in (get_sessions, get_rois, get_categories):
        ask("sub-01", bucket=tiny).clear()
        assert ask("sub-01", bucket=tiny)


def test_opening_does_not_trust_what_is_remembered(own_tiny: Path) -> None:
    """Sizes and ETags must be those of now."""
    bucket = open_bucket(own_tiny)
    get_sessions("sub-01", bucket=bucket)
    shutil.rmtree(own_tiny / BETAS / "sub-01/ses-02")
    assert subject_contents(bucket, "sub-01").sessions == ("ses-01", "ses-03")
    shutil.rmtree(own_tiny / BETAS / "sub-03")
    shutil.rmtree(own_tiny / ROIS / "sub-03")
    assert subjects(bucket) == ["sub-01"]


def test_buckets_are_remembered_apart(tiny: Path, small: Path) -> None:
    """By address and options: the same address on two servers is two buckets."""
    assert len(get_subjects(bucket=tiny)) == 2
    assert len(get_subjects(bucket=small)) == 5
    one, other = (Bucket(str(tiny), {"client_kwargs": {"endpoint_url": f"http://{n}"}}) for n in (1, 2))
    recent_listings._listings[one, "folders", BETAS] = (0.0, ["sub-09"])
    assert (one, "folders", BETAS) in recent_listings._listings
    assert (other, "folders", BETAS) not in recent_listings._listings


def test_threads_may_ask_together(small: Path) -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(get_rois("sub-01", bucket=small))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SUB_01] * 8
