"""The frame of the validation studies: cases kept and resumed, claims saved, the report put together."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rmtrnn as rt
from validation import __main__ as command
from validation import core, data
from validation.core import places, report
from validation.paper.critical_initialisation import cases as points
from validation.paper.mean_field_dynamics import cases as networks
from validation.paper.mean_field_dynamics import pairs

computed: list[str] = []


def _compute(case: core.Case, workers: core.Workers) -> core.Result:
    if case.settings["number"] < 0:
        raise ArithmeticError("a case that fails")
    computed.append(case.key)
    return {"square": case.settings["number"] ** 2}, {"row": np.arange(case.settings["number"])}


def _report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    core.save_data(folder, "data", results)


def _claims(results: dict[str, core.Result]) -> list[core.Claim]:
    total = sum(meta["square"] for meta, _ in results.values())
    verdict = core.Verdict.REPRODUCED if total == 5 else core.Verdict.NOT_REPRODUCED
    return [core.Claim("Fig. 1, squares", "They sum to five.", f"sum {total}", verdict, "if it is 5")]


def _study(
    name: str = "squares", numbers: tuple[int, ...] = (1, 2), sizes: tuple[str, ...] = ("quick",), **more
) -> core.Study:
    return core.Study(
        name=name,
        summary="squares",
        cost=dict.fromkeys(sizes, "nothing"),
        cases=lambda size: [core.Case(f"number-{n}", {"number": n}) for n in numbers],
        compute=_compute,
        report=_report,
        claims=_claims,
        **more,
    )


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Checkpoints and figures in a temporary folder."""
    monkeypatch.setattr(places, "CHECKPOINTS", tmp_path / "cache")
    monkeypatch.setattr(places, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(places, "DRAFTS", tmp_path / "drafts")
    monkeypatch.setattr(command, "COSTS", tmp_path / "figures" / "costs.json")
    computed.clear()


def _run(own: core.Study, **options) -> Path:
    with core.Workers(1) as workers:
        return core.run(own, "quick", workers, show=lambda *_: None, **options)


def test_a_resumed_run_computes_only_what_is_missing():
    with pytest.raises(ArithmeticError):
        _run(_study(numbers=(1, 2, -1)))
    folder = _run(_study(numbers=(1, 2)), resume=True)
    assert computed == ["number-1", "number-2"]
    record = json.loads((folder / "claims.json").read_text())
    assert record["claims"][0]["verdict"] == "reproduced"
    assert record["claims"][0]["found"] == "sum 5"


def test_a_run_without_resume_computes_all_anew():
    _run(_study())
    _run(_study())
    assert computed == 2 * ["number-1", "number-2"]


def test_a_part_of_the_cases_makes_no_claim_and_leaves_the_whole_alone():
    whole = _run(_study())
    before = (whole / "claims.json").read_bytes()
    part = _run(_study(), only="-2")
    assert part != whole
    assert not (part / "claims.json").exists()
    assert (whole / "claims.json").read_bytes() == before


def test_a_long_study_reports_a_part_and_goes_on_from_what_is_committed():
    own = _study(numbers=(1, 2), long=True)
    _run(own, only="-1")
    folder = _run(own, finished_only=True)
    assert json.loads((folder / "claims.json").read_text())["claims"][0]["found"] == "sum 1"
    shutil.rmtree(places.CHECKPOINTS)  # another clone
    _run(own, resume=True)
    assert computed == ["number-1", "number-2"]
    assert json.loads((folder / "claims.json").read_text())["claims"][0]["found"] == "sum 5"
    with pytest.raises(ValueError, match="need all"):
        _run(_study(), finished_only=True)
    with pytest.raises(ValueError, match="no case"):
        _run(_study("empty", long=True), finished_only=True)


def test_redrawing_judges_the_saved_data_without_computing():
    folder = _run(_study())
    before = json.loads((folder / "claims.json").read_text())
    (_, first), (_, second) = core.load_data(folder).values()
    assert (first["row"].size, second["row"].size) == (1, 2)
    core.redraw(_study())
    assert json.loads((folder / "claims.json").read_text()) == before
    assert len(computed) == 2


def test_one_failing_study_does_not_stop_the_others(monkeypatch, capsys):
    good, bad = _study("good"), _study("bad", (-1,))
    absent = _study("absent", requires=("no_such_package",))
    monkeypatch.setattr(command, "STUDIES", {own.name: own for own in (bad, absent, good)})
    assert command.main(["all", "--quick", "--jobs", "1"]) == 1
    text = (places.DRAFTS / "quick" / "REPORT.md").read_text()
    assert "*Reproduced*" in text and "sum 5" in text and "--quick" in text
    errors = capsys.readouterr().err
    assert "bad failed" in errors and "no_such_package" in errors
    assert command.main([]) == 0
    listed = capsys.readouterr().out
    assert "2 of 2" in listed and "0 of 1" in listed and "needs no_such_package" in listed


def test_an_interrupted_run_of_all_can_be_resumed(monkeypatch):
    own = _study()
    stopped = _study(numbers=(1, 2))

    def stop(case: core.Case, workers: core.Workers) -> core.Result:
        if case.key == "number-2":
            raise KeyboardInterrupt
        return _compute(case, workers)

    object.__setattr__(stopped, "compute", stop)
    monkeypatch.setattr(command, "STUDIES", {"squares": stopped})
    assert command.main(["all", "--jobs", "1"]) == 130
    monkeypatch.setattr(command, "STUDIES", {"squares": own})
    assert command.main(["all", "--resume", "--jobs", "1"]) == 0
    assert computed == ["number-1", "number-2"]


def test_a_smaller_size_never_replaces_a_larger_one():
    own = _study(sizes=("quick", "standard"))
    with core.Workers(1) as workers:
        standard = core.run(own, "standard", workers, show=lambda *_: None)
        before = (standard / "claims.json").read_bytes()
        quick = core.run(own, "quick", workers, show=lambda *_: None)
    assert standard == places.FIGURES / "squares"
    assert quick == places.DRAFTS / "quick" / "squares"
    assert (standard / "claims.json").read_bytes() == before
    only = _study("only")
    assert core.destination(only, "quick") == places.FIGURES / "only"
    assert core.destination(own, "quick") == quick
    assert core.destination(own, "full") == standard


def test_the_main_job_leaves_the_clone_clean():
    own = command.STUDIES["quickstart"]
    assert core.destination(own, own.committed) == places.DRAFTS / "quick" / "quickstart"


def test_running_all_at_a_size_takes_the_largest_below_it(monkeypatch):
    both, one = _study("both", sizes=("quick", "standard")), _study("one")
    monkeypatch.setattr(command, "STUDIES", {own.name: own for own in (both, one)})
    assert command.main(["all", "--standard", "--jobs", "1"]) == 0
    sizes = [json.loads((places.FIGURES / n / "claims.json").read_text())["size"] for n in ("both", "one")]
    assert sizes == ["standard", "quick"]
    assert command.main(["--record-costs"]) == 0
    costs = json.loads(command.COSTS.read_text())
    assert costs["both"].keys() == {"standard"}
    assert costs["one"]["quick"]["cases"] == 2
    assert costs["one"]["quick"]["cpu seconds"] >= 0.0


def test_cases_side_by_side_give_what_one_process_gives():
    one = core.load_data(_run(_study()))
    with core.Workers(2) as workers:
        two = core.load_data(core.run(_study(), "quick", workers, show=lambda *_: None))
    assert two.keys() == one.keys()
    for key, (meta, arrays) in one.items():
        assert two[key][0]["square"] == meta["square"]
        assert two[key][0]["provenance"] == meta["provenance"]
        np.testing.assert_array_equal(two[key][1]["row"], arrays["row"])
    assert computed == ["number-1", "number-2"]  # by the first run, in this process


def slow(case: core.Case, workers: core.Workers) -> core.Result:
    time.sleep(0.3)
    return _compute(case, workers)


_SLOW_RUN = """
import signal
import sys
from pathlib import Path
from test_runner import _study, slow
from validation import core
from validation.core import places
places.CHECKPOINTS, places.FIGURES = Path(sys.argv[1]) / "cache", Path(sys.argv[1]) / "figures"
own = _study(numbers=tuple(range(20)))
object.__setattr__(own, "compute", slow)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with core.Workers(int(sys.argv[2])) as workers:
        core.run(own, "quick", workers, resume=True, show=lambda *_: None)
"""


@pytest.mark.parametrize(("jobs", "stop"), [(1, signal.SIGKILL), (2, signal.SIGINT)])
def test_a_killed_run_loses_no_finished_case(tmp_path, jobs, stop):
    script = tmp_path / "slow_run.py"
    script.write_text(_SLOW_RUN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(places.ROOT), str(Path(__file__).parent)])}
    started = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(jobs)], env=environment, stderr=subprocess.DEVNULL
    )
    folder = tmp_path / "cache" / "squares" / "quick"
    while len(list(folder.glob("number-*.npz"))) < 2:  # however long a loaded machine takes
        assert started.poll() is None
        time.sleep(0.02)
    started.send_signal(stop)
    assert started.wait() != 0
    kept = {path.name: path.read_bytes() for path in folder.glob("number-*.npz")}
    assert 2 <= len(kept) < 20
    results = core.load_data(_run(_study(numbers=tuple(range(20))), resume=True))
    assert len(computed) == 20 - len(kept)
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert [meta["square"] for meta, _ in results.values()] == [n**2 for n in range(20)]


def test_data_that_cannot_be_had_is_said_in_a_message_not_a_traceback(monkeypatch, capsys):
    offline = _study("offline")

    def fetch(case: core.Case, workers: core.Workers) -> core.Result:
        raise data.DataError("`npm pack` failed. Connect to the network and try again")

    object.__setattr__(offline, "compute", fetch)
    monkeypatch.setattr(command, "STUDIES", {"offline": offline})
    for arguments in (["offline", "--jobs", "1"], ["all", "--jobs", "1"]):
        assert command.main(arguments) == 1
        errors = capsys.readouterr().err
        assert "Connect to the network" in errors
        assert "Traceback" not in errors


def test_the_first_page_lists_every_claim_by_its_verdict_and_rules_stand_once():
    records = report.collect(places.FIGURES)
    text = report.render(records)
    page = text.partition("## In one page")[2].partition("## Fig. 1")[0]
    claims = [claim for record in records for claim in record["claims"]]
    counts = [int(count) for count in re.findall(r"^### .* \((\d+)\)$", page, re.MULTILINE)]
    assert sum(counts) == len(claims)
    for rule in {claim["reason"] for claim in claims}:
        assert text.count(rule[1:].rstrip(".")) == 1
    assert len(text.partition("Appendix A")[0].split()) <= 3200
    for figure in {
        f"({r['study']}/{name}.png)" for r in records for c in r["claims"] for name in c["figures"]
    }:
        assert text.count(figure) == 1


def test_the_report_names_what_no_study_speaks_to():
    text = report.render([])
    assert text.count("No study with a saved result speaks to this.") == len(report.ITEMS)


@pytest.mark.parametrize("name", sorted(command.STUDIES))
def test_every_study_lists_distinct_cases_of_plain_settings(name):
    own = command.STUDIES[name]
    for size in own.cost:
        cases = own.cases(size)
        assert cases and len({case.key for case in cases}) == len(cases)
        for case in cases:  # else a finished case would not be known again
            assert json.loads(json.dumps(case.settings)) == case.settings


def test_simulated_pairs_follow_the_mean_field_and_reject_a_wrong_one():
    ens = rt.Ensemble("minimal", **networks.MINIMAL, mu_b=2.0, Sigma=1.0)
    start = (float(rt.mean_field(ens).Q), 0.0)  # pyright: ignore[reportArgumentType]
    steps, uncorrelated = 25, 5
    parameters = {"ensemble": ens.to_dict(), "N": 1024, "seed": 1, "steps": steps}
    parameters |= {"starts": [list(start)], "uncorrelated": uncorrelated}
    q, c = pairs.trajectories([pairs.simulate(parameters, trial) for trial in range(12)], steps)
    theory = pairs.theory(ens, start, steps, uncorrelated)
    wrong = pairs.theory(ens.replace(sigma_w=1.3 * networks.MINIMAL["sigma_w"]), start, steps, uncorrelated)
    error = c[:, :, 0].std(axis=0, ddof=1) / np.sqrt(len(c))
    score = np.sqrt(np.mean(((c[:, :, 0].mean(axis=0) - theory[1]) / error) ** 2))
    control = np.sqrt(np.mean(((c[:, :, 0].mean(axis=0) - wrong[1]) / error) ** 2))
    assert score < 2.0 < control
    np.testing.assert_allclose(q.mean(axis=0)[:, 0], theory[0], rtol=0.1)


def test_fields_drawn_for_untied_weights_have_the_covariance_of_the_states():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3, 20000))
    rows[2] = rows[0]
    drawn = pairs._weights(False, 2.0, rows.shape[1], rng, rng)(rows)
    np.testing.assert_allclose(drawn @ drawn.T, 4.0 * rows @ rows.T, atol=0.05 * 4.0 * rows.shape[1])
    np.testing.assert_allclose(drawn[2], drawn[0], atol=1e-6)


def test_the_closed_form_agrees_with_thirty_digits():
    settings = {"mu_b": 0.0, "q": 16.0, "R": 0.46}
    digits = points.quadrature_30_digits(settings)
    # theory.md (17): the values that the paper rounds
    assert float(digits["sigma_w2"]) ** 0.5 == pytest.approx(6.8917, abs=5e-5)
    assert float(digits["sigma_v2"]) ** 0.5 == pytest.approx(1.3923, abs=5e-5)
