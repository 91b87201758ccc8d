"""Whatever a network does: the same Dataset or one error of the contract, in bounded time, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy, silence
from network_faults import CASES, DOCUMENT, FILES, complaints, held, listed_cases, run, run_all
from network_kinds import LISTINGS, Stage
from tiers import full

from intake_laion_fmri.config import NetworkPolicy

pytest_plugins = ["network_stage"]


QUICK = {"HEAD, once", "listing, once", "small file, once"}
OTHERS = full(
    "up to a quarter of a minute each; faults that pass are in the fast tier, and others in test_broken_answers"
)


@pytest.mark.parametrize(
    "group",
    [pytest.param(one, marks=() if one in QUICK else OTHERS) for one in sorted({case.group for case in CASES})],
)
def test_faults(stage: Stage, group: str) -> None:
    """No hang, no wrong value, no temporary file, no error but the contract's, and each names what it has to."""
    results = list(run_all([case for case in CASES if case.group == group], stage))
    said = {result.case.name: complaints(result) for result in results}
    assert {name: text for name, text in said.items() if text} == {}
    for result in results:
        if result.outcome is None:
            pytest.skip(f"{result.case.name}: namespaces are not permitted here")


@full("checks the matrix itself, three seconds")
def test_complaints_can_be_made(stage: Stage) -> None:
    """The judge of the cases is no rubber stamp: what came of one is not right for another."""
    by_name = {case.name: case for case in CASES}
    recovered = run(by_name["500 InternalError, listing, HEAD, small file, middle of the betas, once"], stage)
    failed = run(by_name["500 InternalError, small file, always"], stage)
    assert complaints(recovered) == complaints(failed) == []
    for result, case in ((recovered, failed.case), (failed, recovered.case)):
        assert any("expected" in text for text in complaints(type(result)(**{**vars(result), "case": case})))
    wrong = type(failed)(**{**vars(failed), "wrong": 1, "left": ("tmp/x",), "faults": 4})
    assert len(complaints(wrong)) == 3


def test_the_policy_of_the_environment(stage: Stage, tmp_path: Path) -> None:
    """What is set for all programs bounds attempts and seconds, and what is set in one goes before it."""
    environment = {"LAION_FMRI_NETWORK": "attempts=2, read_seconds=0.4, total_seconds=5"}
    for network, attempts in (({}, 2), ({"attempts": 1}, 1)):
        with FaultyProxy.before(stage.server) as proxy, proxy.rule("list-type", silence) as rule:
            options = {"client_kwargs": {"endpoint_url": proxy.endpoint}}
            job = stage.job(tmp_path / str(attempts), options=options, network=network, environment=environment)
            outcome = stage.openers.run(job)
        classes, text = outcome.error
        assert classes[0] == "BucketUnreachableError"
        assert attempts <= rule.hits <= LISTINGS * attempts  # the first listing that fails ends the others
        assert f"in {attempts} attempt" in text
        assert outcome.seconds < NetworkPolicy().read_seconds


def test_the_matrix_lists_every_case() -> None:
    """The document of the faults is of these cases and of no others."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert listed_cases(text) == [case.name for case in CASES]
    assert len(set(listed_cases(text))) == len(CASES)
    for said, name in held():
        assert f"| {said} | {name} |" in text
    for what in ("wrong values returned", "temporary files left", "hangs"):
        assert f"| {what} | 0 |" in text
    assert "not as it should be" not in text
    assert "**" not in text.partition(FILES)[0]
    assert FILES in text
