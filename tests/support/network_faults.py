"""The faults of a network as data: what goes wrong, where, how often, and what has to come of it.

Each case is produced for real, by a proxy before an S3 server or by sockets, while a new process opens and computes
betas. `run` plays one; run as a script, this plays all of them and writes the matrix, docs/faults.md:

    python tests/support/network_faults.py [FILE WITH ITS LAST PART]
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gzip
import json
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import faulty_proxy as proxies
from faulty_proxy import Action, FaultyProxy
from network_kinds import (
    ABSENT,
    ALL,
    ALWAYS,
    ASKED,
    BETAS,
    CONNECTION,
    CONTRACT,
    DAMAGED,
    DENIED,
    HEAD,
    KEYS,
    LISTING,
    LISTINGS,
    MAP,
    OBJECTS,
    ONCE,
    PLACES,
    POLICY,
    SAME,
    SELECTION,
    SESSION,
    SLACK_SECONDS,
    SUBJECT,
    TABLE,
    UNREACHABLE,
    Case,
    Result,
    Stage,
    alone,
    at,
    at_each,
    betas,
    black_hole,
    bucket_name,
    ceiling,
    closed_port,
    dropping,
    elsewhere,
    endless,
    never_served,
    no_such_name,
    other_betas,
    other_end,
    outdated,
    redirected,
    replaced,
    stored,
    trials_before,
    trials_of_session,
    unlisted,
    upload,
    with_tls,
)
from openers import Openers, Outcome, left_behind, run_where_no_name_resolves

from intake_laion_fmri.demo import SCALES, write_demo

__all__ = ["CASES", "DOCUMENT", "complaints", "held", "listed_cases", "make_bucket", "run", "run_all", "staged"]

XHTML = b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><body><p>Please log in.</p></body></html>"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
TRANSIENT: Sequence[tuple[str, Action, Sequence[str]]] = [
    ("no answer", proxies.silence, (LISTING, HEAD, TABLE, BETAS)),
    ("silence in the body", proxies.stall, (LISTING, TABLE, BETAS)),
    ("a byte a second", proxies.drip(1.0), (LISTING, TABLE, BETAS)),
    ("twenty bytes a second", proxies.drip(0.05), (LISTING, TABLE, BETAS)),
    ("a header that never ends", proxies.drip_headers, (LISTING, HEAD, TABLE, BETAS)),
    ("reset in the body", proxies.reset, (LISTING, TABLE, BETAS)),
    ("reset before the answer", proxies.reset_at_once, (LISTING, HEAD, TABLE, BETAS)),
    ("hung up in the body", proxies.drop, (LISTING, TABLE, BETAS)),
    ("hung up before the answer", proxies.lose_answer, (LISTING, HEAD, TABLE, BETAS)),
    ("500 InternalError", proxies.answer(500, "InternalError"), (LISTING, HEAD, TABLE, BETAS)),
    ("502, a gateway's page", proxies.page(502), (LISTING, HEAD, TABLE, BETAS)),
    ("503 SlowDown", proxies.answer(503, "SlowDown"), (LISTING, HEAD, TABLE, BETAS)),
    ("429 TooManyRequests", proxies.answer(429, "TooManyRequests"), (LISTING, TABLE, BETAS)),
    ("400 RequestTimeout", proxies.answer(400, "RequestTimeout"), (TABLE, BETAS)),
    ("a length too long", proxies.claim(1.5), (LISTING, TABLE, BETAS)),
    ("a length too short", proxies.claim(0.5), (LISTING, TABLE, BETAS)),
    ("cut, with the length of what is left", proxies.cut, (LISTING, TABLE, BETAS)),
    ("a page of a hotel", proxies.page(200), (LISTING, HEAD, TABLE, BETAS)),
    ("no HTTP", proxies.raw(TLS_ALERT), (LISTING, HEAD, TABLE, BETAS)),
    ("a page of a hotel, in XHTML", proxies.instead(XHTML), (LISTING,)),
]
"""What another attempt may not meet: the fault, how it is made, and where."""

_LIES = {
    "a page of a hotel",
    "a page of a hotel, in XHTML",
    "cut, with the length of what is left",
    "a length too short",
}
"""Of these, the ones that look like an answer: an error may call the content wrong, or the server unreachable."""

_REQUESTS = {"reset before the answer": 2, "hung up before the answer": 2, "a page of a hotel, in XHTML": 4}
"""Of these, how many requests an attempt may come to: the HTTP client itself asks again at once, as the connection may
have been too old; what looks like an empty listing is looked into."""

REFUSED = proxies.answer(403, "AccessDenied")
FINAL: Sequence[tuple[str, Action, Sequence[str], str]] = [
    ("403 AccessDenied", REFUSED, (LISTING, HEAD, ASKED, BETAS), DENIED),
    ("404 although listed", proxies.answer(404, "NoSuchKey"), (HEAD, TABLE, BETAS), ABSENT),
    ("404 NoSuchBucket", proxies.answer(404, "NoSuchBucket"), (LISTING,), ABSENT),
]
"""What the server means: asking again is of no use."""


def _cases() -> Iterator[Case]:
    for fault, action, places in TRANSIENT:
        once = functools.partial(at_each, places=places, action=action)
        yield Case(fault, ", ".join(places), ONCE, (SAME,), once, most=len(places), least=len(places))
        errors = (UNREACHABLE, DAMAGED) if fault in _LIES else (UNREACHABLE,)
        most = _REQUESTS.get(fault, 1) * POLICY["attempts"]
        for place in places:
            yield Case(fault, place, ALWAYS, errors, at(place, action), most=most)
    for fault, action, places, error in FINAL:
        for place in places:
            yield Case(fault, place, ALWAYS, (error,), at(place, action), most=1)
    yield Case(
        "403 AccessDenied",
        TABLE,
        ALWAYS,
        (SAME,),
        at(TABLE, REFUSED),
        most=1,
        without=trials_before,
        warns="MissingFileWarning: Left out: repetition (it is counted from the first session on; s3://",
    )
    for place in (LISTING, HEAD, TABLE, BETAS):
        for often, expected in ((ONCE, SAME), (ALWAYS, UNREACHABLE)):

            def inject(_: Stage, proxy: FaultyProxy, place: str = place, often: str = often) -> Any:
                return redirected(place, often, proxy)

            yield Case("sent to where nothing answers", place, often, (expected,), inject)
    circle = at(TABLE, proxies.redirect("{path}"))
    yield Case("sent around in a circle", TABLE, ALWAYS, (UNREACHABLE,), circle, most=10 * POLICY["attempts"])
    for place in (LISTING, TABLE, BETAS):
        patient = {"network": {**POLICY, "attempts": 7, "total_seconds": 12.0}}
        yield Case("refused for 0.3 s", place, ONCE, (SAME,), at(place, proxies.go_away(0.3), ONCE), job=patient)
        yield Case("refused from then on", place, ONCE, (UNREACHABLE,), at(place, proxies.go_away(60), ONCE))

    # What does not look like a fault.
    for place in (TABLE, MAP):
        yield Case("a flipped bit", place, ONCE, (SAME,), at(place, proxies.flip, ONCE))
        yield Case("a flipped bit", place, ALWAYS, (DAMAGED,), at(place, proxies.flip))
    for often in (ONCE, ALWAYS):
        yield Case("a flipped bit", BETAS, often, (DAMAGED,), at(BETAS, proxies.flip, often))
        yield Case("bytes of another place", BETAS, often, (DAMAGED,), at(BETAS, proxies.shift, often))
    part = {"selection": {**SELECTION, "stimuli": "shared"}}
    fault = "flipped bits, and the last trials are not wanted"
    yield Case(fault, BETAS, ALWAYS, (DAMAGED,), at(BETAS, proxies.flip_values), job=part)
    moved = proxies.answer(301, "PermanentRedirect")
    yield Case(
        "301 PermanentRedirect", LISTING, ALWAYS, (UNREACHABLE,), at(LISTING, moved), most=2 * POLICY["attempts"]
    )
    yield Case("the whole instead of a part", TABLE, ALWAYS, (SAME,), at(TABLE, proxies.unranged), most=None)
    yield Case("the whole instead of a part", BETAS, ONCE, (SAME,), at(BETAS, proxies.unranged, ONCE))
    yield Case("the whole instead of a part", BETAS, ALWAYS, (DAMAGED,), at(BETAS, proxies.unranged))
    yield Case(
        "416 InvalidRange", BETAS, ALWAYS, (DAMAGED, UNREACHABLE), at(BETAS, proxies.answer(416, "InvalidRange"))
    )
    yield Case("400 InvalidRequest", TABLE, ALWAYS, (UNREACHABLE,), at(TABLE, proxies.answer(400, "InvalidRequest")))
    yield Case("an ETag of another object", HEAD, ALWAYS, (DAMAGED,), at(HEAD, proxies.with_headers(etag='"0"')))
    yield Case("no ETag", HEAD, ALWAYS, (DAMAGED,), at(HEAD, proxies.with_headers(etag=None)))

    # Listings.
    yield Case("pages without end", LISTING, ALWAYS, (UNREACHABLE, DAMAGED), at(LISTING, endless), most=None)
    yield Case(
        "misses a table that is needed", LISTING, ALWAYS, (ABSENT,), at(LISTING, unlisted(trials_of_session)), most=None
    )
    yield Case(
        "misses a map",
        LISTING,
        ALWAYS,
        (SAME,),
        at(LISTING, unlisted(ceiling)),
        most=None,
        without=ceiling,
        warns="MissingFileWarning",
    )
    for fault, path, element, value, error in (
        ("tells a size of before, of a table", trials_of_session, "Size", "77", DAMAGED),
        ("tells a size of before, of the betas", betas, "Size", "1048999", DAMAGED),
        (
            "tells an ETag of before, of a table",
            trials_of_session,
            "ETag",
            "&quot;0123456789abcdef0123456789abcdef&quot;",
            DAMAGED,
        ),
        (
            "tells an ETag of before, of the betas",
            betas,
            "ETag",
            "&quot;0123456789abcdef0123456789abcdef&quot;",
            DAMAGED,
        ),
    ):
        yield Case(fault, LISTING, ALWAYS, (error,), at(LISTING, outdated(path, element, value)), most=None)

    # Objects that are replaced.
    table, some_map, tables = rf"^GET .*{SESSION}.*_trials\.tsv", "^GET .*Noiseceiling12rep", r"^GET .*_trials\.tsv"
    for fault, path, when, change in (
        ("a table is replaced after the listing", trials_of_session, table, other_end),
        ("a map is replaced after the listing", ceiling, some_map, other_end),
        ("the betas are replaced after the listing", betas, tables, other_betas),
        ("the betas are replaced in the middle of the stream", betas, PLACES[BETAS], other_betas),
        ("the betas are replaced by shorter ones in the middle", betas, PLACES[BETAS], lambda old: old[:1_100_000]),
        ("the betas are replaced by longer ones in the middle", betas, PLACES[BETAS], lambda old: old + b"\0"),
    ):
        inject = functools.partial(replaced, path=path, when=when, change=change)
        yield Case(fault, OBJECTS, ONCE, (DAMAGED,), inject, own=True)

    # Connections.
    yield Case("refused", CONNECTION, ALWAYS, (UNREACHABLE,), elsewhere(closed_port))
    yield Case("taken and never served", CONNECTION, ALWAYS, (UNREACHABLE,), elsewhere(never_served))
    yield Case("nothing comes back", CONNECTION, ALWAYS, (UNREACHABLE,), elsewhere(black_hole))
    yield Case("a name that does not exist", CONNECTION, ALWAYS, (UNREACHABLE,), elsewhere(no_such_name))
    yield Case("HTTPS to a server of HTTP", CONNECTION, ALWAYS, (UNREACHABLE,), with_tls)
    yield Case(
        "a name server that does not respond",
        CONNECTION,
        ALWAYS,
        (UNREACHABLE,),
        elsewhere(no_such_name),
        job={"swallow_dns": True},
    )
    yield Case(
        "broken when made, each third",
        CONNECTION,
        ALWAYS,
        (SAME,),
        dropping,
        most=None,
        job={"network": {**POLICY, "attempts": 8, "total_seconds": 20.0}},
    )

    # All of it.
    every = [action for _, action, _ in TRANSIENT] + [action for _, action, _, _ in FINAL] + [proxies.flip]
    passing = [action for fault, action, _ in TRANSIENT if fault not in _LIES]
    patient = {**POLICY, "attempts": 6, "total_seconds": 15.0, "read_seconds": 0.6}
    uncached = {"LAION_FMRI_CACHE_LIMIT": "0"}
    for seed in (1, 2):
        action = proxies.ByChance(seed, 0.1, passing)
        job = {"network": patient, "times": 4, "seconds": 120, "environment": uncached}
        yield Case(
            f"one in ten fails by chance, seed {seed}", ALL, "4 openings", (SAME,), at(ALL, action), most=None, job=job
        )
        action = proxies.ByChance(seed, 0.1, every)
        job = {**job, "times": 8}
        yield Case(
            f"one in ten fails or lies by chance, seed {seed}",
            ALL,
            "8 openings",
            (SAME, *CONTRACT),
            at(ALL, action),
            most=None,
            job=job,
        )


CASES: tuple[Case, ...] = tuple(_cases())


def run(case: Case, stage: Stage) -> Result:
    """Play a case: within the job's alarm it is over."""
    folder = Path(tempfile.mkdtemp(dir=stage.folder))
    if case.own:
        stage = stage.own(bucket_name(folder))
    with FaultyProxy.before(stage.server) as proxy:
        with case.inject(stage, proxy) as endpoint:
            rules = proxy.rules
            options = {"client_kwargs": {"endpoint_url": endpoint or proxy.endpoint}}
            job = stage.job(folder, options=options, **case.job)
            outcome = run_where_no_name_resolves(job) if job.swallow_dns else stage.openers.run(job)
        done = [getattr(rule.action, "hits", rule.hits) for rule in rules if rule.action is not alone]
        faults = sum(done) + proxy.n_dropped
        expected = stage.expected if case.without is None else stage.expected_without(case.without)
        if case.job.get("selection", SELECTION) != SELECTION:
            expected = stage.expected_of(json.dumps(case.job["selection"]))
        wrong = 0 if outcome is None else sum(found != expected for found in outcome.digests)
        return Result(case, outcome, wrong, faults, len(proxy.seen), proxy.n_bytes, tuple(left_behind(folder)))


def complaints(result: Result) -> list[str]:
    """Say in what a case came out otherwise than it has to."""
    case, outcome = result.case, result.outcome
    if outcome is None:
        return []
    said = []
    if not outcome.ended:
        said.append(f"it did not end: {outcome.noise[-2000:]}")
    if result.wrong:
        said.append("wrong values")
    if result.left:
        said.append(f"left behind: {result.left}")
    came = {classes[0] for classes, _ in outcome.errors} | ({SAME} if outcome.digests else set())
    if not came or not came <= set(case.expected):
        said.append(f"expected {' or '.join(case.expected)}, found {came}: {[text for _, text in outcome.errors]}")
    for classes, text in outcome.errors:
        said += _missing_in(case, classes, text)
    policy = {**POLICY, **case.job.get("network", {})}
    openings = case.job.get("times", 1)
    silent = case.least * (policy["connect_seconds"] + policy["read_seconds"])
    if outcome.seconds > openings * (policy["total_seconds"] + SLACK_SECONDS) + silent:
        said.append(f"it took {outcome.seconds:.1f} s")
    if outcome.seconds_to_end > policy["total_seconds"] + SLACK_SECONDS:
        said.append(f"it took {outcome.seconds_to_end:.1f} s to end")
    most = None if case.most is None else case.most * (LISTINGS if case.place == LISTING else 1)
    if most is not None and result.faults > most:
        said.append(f"asked {result.faults} times, at most {most} expected")
    if result.faults < max(case.least, case.place in PLACES):
        said.append(f"it happened {result.faults} times only")
    if unexpected := [one for one in outcome.warnings if not (case.warns and one.startswith(case.warns))]:
        said.append(f"warned: {unexpected}")
    if case.warns and not outcome.warnings:
        said.append(f"expected the warning {case.warns!r}")
    if outcome.noise:
        said.append(f"written to standard error: {outcome.noise[-2000:]}")
    return said


def _missing_in(case: Case, classes: Sequence[str], text: str) -> list[str]:
    """Say what an error does not name, and has to."""
    key = KEYS.get(case.place, KEYS[LISTING])
    needed = {"the object or listing": key if "no bucket" not in text else "s3://"}
    if classes[0] == UNREACHABLE:
        needed |= {
            "the endpoint": r"at https?://[\w.]+:\d+ ",
            "the attempts": r"\bin \d+ attempts? over [\d.]+ s",
            "the mirror": "mirror=",
        }
    return [f"does not name {what}: {text}" for what, pattern in needed.items() if not re.search(pattern, text)]


def make_bucket(folder: Path) -> None:
    """Write a bucket of one subject, two sessions and few files, the betas long enough for several requests."""
    scale = replace(SCALES["tiny"], subjects=(SUBJECT,), sessions=("ses-01", SESSION), shape=(16, 18, 14))
    write_demo(folder / "bucket", scale=scale)
    (folder / "bucket/derivatives/splits").rename(folder / "splits")
    for path in list((folder / "bucket").rglob("*")):
        kept = re.search(r"_trials\.tsv|_mask\.nii\.gz|_statmap\.nii\.gz", path.name) and "ses-31" not in path.parts
        if path.is_file() and (not kept or ("rois" in path.parts and "face" not in path.parts)):
            path.unlink()
        elif path.name.endswith("SingletrialBetas_statmap.nii.gz"):
            path.write_bytes(stored(gzip.decompress(path.read_bytes())))
    # Images of one subject's own come last, the betas of which nobody reads who asks for shared ones.
    table = trials_of_session(folder / "bucket")
    head, *rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    label = head.index("label")
    own = [row[label] for row in rows if row[label].startswith("unique")]
    shared = [row[label] for row in rows if not row[label].startswith("unique")]
    for row, name in zip(rows, [*own[3:], *shared, *own[:3]], strict=True):
        row[label] = name
    table.write_text("".join("\t".join(row) + "\n" for row in [head, *rows]), encoding="utf-8")


@contextmanager
def staged(server: str, client: Any, folder: Path) -> Iterator[Stage]:
    """Prepare the bucket and the processes."""
    make_bucket(folder)
    with Openers.running() as openers:
        stage = Stage(server, client, folder, openers, bucket_name(folder))
        upload(client, stage.bucket, stage.local)
        yield stage


def run_all(cases: Iterable[Case], stage: Stage, *, at_once: int = 6) -> Iterator[Result]:
    """Play cases, several at a time: most of them wait."""
    stage.expected  # noqa: B018  (once, before all)
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(functools.partial(run, stage=stage), cases)


DEFAULTS: tuple[tuple[str, Callable[[], AbstractContextManager[str]] | None, Action | None, bool], ...] = (
    ("refused", closed_port, None, False),
    ("a name that does not exist", no_such_name, None, False),
    ("taken and never served", never_served, None, False),
    ("nothing comes back", black_hole, None, False),
    ("a name server that does not respond", no_such_name, None, True),
    ("no answer to a listing", None, proxies.silence, False),
    ("503 SlowDown to each listing", None, proxies.answer(503, "SlowDown"), False),
    ("a listing at a byte a second", None, proxies.drip(1.0), False),
)
"""What the default policy is measured with: the fault, where it is, what is done with listings, and the name server."""


def give_up(
    stage: Stage, place: Callable[[], AbstractContextManager[str]] | None, action: Action | None, swallow_dns: bool
) -> Outcome | None:
    """Open under the default policy what cannot be opened."""
    folder = Path(tempfile.mkdtemp(dir=stage.folder))
    with (
        FaultyProxy.before(stage.server) as proxy,
        proxy.rule(PLACES[LISTING], action or proxies.forward),
        place() if place else contextlib.nullcontext(proxy.endpoint) as endpoint,
    ):
        options = {"client_kwargs": {"endpoint_url": endpoint}}
        job = stage.job(folder, options=options, network={}, seconds=240, swallow_dns=swallow_dns)
        return run_where_no_name_resolves(job) if swallow_dns else stage.openers.run(job)


DOCUMENT = Path(__file__).parents[2] / "docs/faults.md"
FILES = "## Broken and hostile files"
"""How the part of the document begins that is written elsewhere, and is kept."""

HELD_BY = ("test_concurrency.py", "test_cache.py")
"""Tests of what is no single fault, listed in the document by what they say of themselves."""

TEXT = """\
# Faults and their outcomes

Each fault is real: it is produced by a proxy in front of an S3 server, by sockets, processes or files. Nothing in the
package is patched. `python tests/support/network_faults.py` measures the first three tables again.
`tests/remote/test_network_faults.py` runs the same cases in the test suite, and checks that this page lists exactly
these cases.

## Totals of the network's faults

{totals}

## The network

During the fault, a new process opens and computes betas (the face ROIs of one session). This takes two listings, ten
small files, two HEAD and three ranged GET requests. The limits are much lower than the defaults:
{policy}.

*Faults* counts the requests or connections that met the fault. If the fault happens "always", this is the number of
attempts. *Seconds* is the time of the whole process; opening and computing take about one second of it. All times on
this page were measured on a busy machine, and are shorter on a quiet one.

{network}

## Giving up under the default policy

By default, a request is attempted five times. It may take 5 s to connect, 10 s without receiving data, and 45 s in all
from its first attempt on. As long as data arrive, it also gets the time that its size would take at 50 kB/s: 100 s for
a listing, and 670 s for a block of 8 MiB, because four blocks share the line. The times below include imports and
opening, and were measured with all of these cases at once.

{defaults}

## Many at once, and the cache

The test suite runs these cases every time.

{held}

{files}
"""


def document(results: Sequence[Result], defaults: Mapping[str, Outcome | None], files: str) -> str:
    """Return the matrix as Markdown."""
    outcomes = [result.outcome for result in results if result.outcome]
    given_up = [r.outcome.seconds for r in results if r.outcome and r.came == UNREACHABLE and not r.case.job]
    total, slack = POLICY["total_seconds"], "with opening itself"
    totals = [
        ["cases", len(results)],
        ["ended with the same Dataset", sum(r.came == SAME for r in results)],
        ["ended with one of the contract's errors", sum(r.came in CONTRACT for r in results)],
        ["several openings, ended with either", sum("," in r.came for r in results)],
        ["not produced on this machine", sum(r.outcome is None for r in results)],
        ["Datasets opened, computed and compared", sum(len(one.digests) for one in outcomes)],
        ["requests or connections that met a fault", sum(r.faults for r in results)],
        [f"longest time to give up, {slack}, where {total:g} s are set", f"{max(given_up):.1f} s"],
        ["wrong values returned", sum(r.wrong for r in results)],
        ["temporary files left", sum(len(r.left) for r in results)],
        ["hangs", sum(r.hangs for r in results)],
    ]
    network = [
        [
            *(result.case.fault, result.case.place, result.case.often, result.came, result.faults, result.requests),
            f"{result.outcome.seconds:.1f}" if result.outcome else "",
        ]
        for result in results
    ]
    patience = [
        [name, outcome.error[0][0], f"{outcome.seconds:.1f}"] if outcome else [name, "not produced here", ""]
        for name, outcome in defaults.items()
    ]
    return TEXT.format(
        totals=table(["what", "number"], totals),
        policy=", ".join(f"`{name}={value:g}`" for name, value in POLICY.items()),
        network=table(["fault", "where", "how often", "outcome", "faults", "requests", "seconds"], network),
        defaults=table(["fault", "outcome", "seconds"], patience),
        held=table(["case and outcome", "tested by"], list(held())),
        files=files.strip() or f"{FILES}\n\nNot listed yet.",
    )


def listed_cases(text: str) -> list[str]:
    """Return the names of the cases that a document lists."""
    part = text.partition("## The network\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [", ".join(row[:3]) for row in rows[2:]]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def held() -> Iterator[list[str]]:
    """Return what the tests of `HELD_BY` say of themselves, and their names."""
    for name in HELD_BY:
        module = ast.parse((Path(__file__).parents[1] / "remote" / name).read_text(encoding="utf-8"))
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = " ".join((ast.get_docstring(node) or "").split())
                yield [said, f"`{name}::{node.name}`"]


def main() -> None:
    """Play all cases and write the document, with a file's content as its last part if one is named."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    if len(sys.argv) > 1:
        text = Path(sys.argv[1]).read_text(encoding="utf-8")
    else:
        text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    files = text[text.index(FILES) :] if FILES in text else ""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="test", aws_secret_access_key="test"
    )
    with tempfile.TemporaryDirectory() as folder, staged(endpoint, client, Path(folder)) as stage:
        results = []
        for result in run_all(CASES, stage):
            results.append(result)
            said = complaints(result)
            print(f"{'not as it should be: ' if said else ''}{result.case.name}: {result.came}", file=sys.stderr)
            print(*said, sep="\n", end="\n" if said else "", file=sys.stderr)
        with ThreadPoolExecutor(len(DEFAULTS)) as pool:
            futures = {name: pool.submit(give_up, stage, *rest) for name, *rest in DEFAULTS}
            defaults = {name: future.result() for name, future in futures.items()}
    server.stop()
    DOCUMENT.write_text(document(results, defaults, files), encoding="utf-8")


if __name__ == "__main__":
    main()
