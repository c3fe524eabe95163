"""What holds for every study: no "reproduced" on laws that are not converged; the code in every record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from validation import __main__ as command
from validation import core
from validation.core import places, provenance, report
from validation.core.verdicts import judged, unconverged

GOOD = ({"theory": {"converged": True}}, {})
BAD = ({"theory": {"converged": False}}, {})
WRONG = ({"theory": {"converged": True}, "wrong": {"free": {"converged": False}}}, {})


def claim(verdict=core.Verdict.REPRODUCED, cases=()):
    return core.Claim("Spectra", "They agree.", "2 of 2", verdict, "if all agree", cases=cases)


def test_a_claim_on_an_unconverged_law_is_never_reproduced():
    results = {"minimal-T4": GOOD, "minimal-T8": BAD, "vanilla-T4": GOOD}
    assert unconverged(results) == ["minimal-T8"]
    (found,) = judged([claim()], results)
    assert found.verdict == core.Verdict.UNDECIDED
    assert "not converged in minimal-T8" in found.reason
    (kept,) = judged([claim(cases=("vanilla",))], results)
    assert kept == claim(cases=("vanilla",))
    (other,) = judged([claim(core.Verdict.NOT_REPRODUCED)], results)
    assert other.verdict == core.Verdict.NOT_REPRODUCED


def test_a_wrong_law_need_not_be_converged():
    assert judged([claim()], {"minimal-T4": WRONG}) == [claim()]


def test_the_digest_changes_with_the_code_alone(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    first = provenance.code_digest.__wrapped__(tmp_path)
    (tmp_path / "notes.txt").write_text("no code\n")
    assert provenance.code_digest.__wrapped__(tmp_path) == first
    (tmp_path / "a.py").write_text("x = 2\n")
    assert provenance.code_digest.__wrapped__(tmp_path) != first


def test_records_name_commit_and_code_and_those_of_other_code_are_told():
    made = provenance.provenance()
    assert {"commit", "code", "numpy", "date"} <= made.keys()
    assert len(made["code"]) == 12
    results = {"new": ({"provenance": made}, {}), "old": ({"provenance": {"rmtrnn": "0.1.0"}}, {})}
    assert provenance.of_other_code(results) == ["old"]


def test_a_resumed_run_names_cases_of_other_code(tmp_path, monkeypatch, capsys):
    for name in ("CHECKPOINTS", "FIGURES", "DRAFTS"):
        monkeypatch.setattr(places, name, tmp_path / name)
    computed = []

    def compute(case, workers):
        computed.append(case.key)
        return {}, {}

    def report(results, size, folder):
        core.save_data(folder, "data", results)

    own = core.Study("own", "", {"quick": ""}, lambda size: [core.Case("one", {})], compute, report)
    with core.Workers(1) as workers:
        core.run(own, "quick", workers, show=lambda *_: None)
        monkeypatch.setattr(provenance, "code_digest", lambda: "another code")
        folder = core.run(own, "quick", workers, resume=True, show=lambda *_: None)
        assert computed == ["one"]
        assert "1 of 1 cases were computed by other code" in capsys.readouterr().err
        assert json.loads((folder / "claims.json").read_text())["cases of other code"] == ["one"]
        core.run(own, "quick", workers, resume=True, same_code=True, show=lambda *_: None)
    assert computed == ["one", "one"]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in places.FIGURES.glob("*/claims.json")))
def test_stored_results_load_and_their_claims_can_be_judged_again(name):
    results = core.load_data(places.FIGURES / name)
    own = command.STUDIES[name]
    claims = judged(own.claims(results), results) if own.claims else []
    stored = json.loads((places.FIGURES / name / "claims.json").read_text())
    names = ("item", "claim", "found", "verdict", "difference", "new")
    assert [[getattr(own, name) for name in names] for own in claims] == [
        [own[name] for name in names] for own in stored["claims"]
    ]
    assert "cases of other code" not in stored or isinstance(stored["cases of other code"], list)


def test_the_report_is_put_together_from_what_is_stored():
    text = report.render(report.collect(places.FIGURES))
    assert all(f"python -m validation {name}" in text for name in ("gated", "phase"))


def test_tied_and_untied_networks_of_the_dyson_errors_are_told_apart(tmp_path):
    """The stored ones too, whose settings do not say it."""
    results = core.load_data(places.FIGURES / "dyson_error")
    tied = sum(meta["ensemble"]["tied"] for meta, _ in results.values())
    command.STUDIES["dyson_error"].report(results, "full", tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert f"## Tied weights\n\n{tied} random networks" in text
    assert f"## Untied weights\n\n{len(results) - tied} random networks" in text


def test_the_first_page_has_every_finding_once():
    records = report.collect(places.FIGURES)
    page, _, rest = report.render(records).partition("## Fig. 1")
    lines = page.replace("\\|", "|").splitlines()
    claims = [claim for record in records for claim in record["claims"]]
    assert len(claims) > 20 and rest
    for claim in claims:
        parts = (claim["claim"], claim["difference"], claim["found"])
        assert sum(all(part in line for part in parts) for line in lines) == 1, claim
        assert sum(claim["new"] in line for line in lines) == 1 or not claim["new"], claim


def test_the_report_is_short():
    """At most 3,000 words before the rules and parameters."""
    text, rules, _ = report.render(report.collect(places.FIGURES)).partition('## <a id="rules">')
    assert rules
    assert sum(any(map(str.isalnum, word)) for word in text.split()) <= 3000


@pytest.mark.slow
def test_the_command_of_the_readme_runs(tmp_path):
    """``python -m validation quickstart``; its words stand in the README."""
    assert "python -m validation quickstart" in (places.ROOT / "README.md").read_text()
    arguments = [sys.executable, "-m", "validation", "quickstart", "--jobs", "1", "--output", str(tmp_path)]
    done = subprocess.run(arguments, cwd=places.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "claims.json").exists() and list(tmp_path.glob("*.png"))


def test_the_list_of_studies_is_shown():
    done = subprocess.run(
        [sys.executable, "-m", "validation"], cwd=places.ROOT, capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in command.STUDIES)


def test_every_study_has_one_shape():
    """A package of cases and findings, or one file: STUDY names list_cases, compute, report and claims."""
    for own in command.STUDIES.values():
        names = [own.cases.__name__, own.compute.__name__, own.report.__name__]
        assert names == ["list_cases", "compute", "report"], own.name
        assert own.claims is None or own.claims.__name__ == "claims", own.name
        last = own.cases.__module__.rsplit(".", 1)[1]
        if last == "cases":
            assert own.report.__module__ == own.cases.__module__.removesuffix("cases") + "findings", own.name
        else:
            assert own.report.__module__ == own.cases.__module__, own.name
            path = sys.modules[own.cases.__module__].__file__
            assert path is not None
            assert len(Path(path).read_text().splitlines()) < 200, own.name
