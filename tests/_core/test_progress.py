"""Progress: silent by default, a tqdm bar on request, counts from inside without being handed the bar."""

import io

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core import progress
from rmtrnn._core.parallel import thread_map


def tied(sigma_w: float) -> rt.Ensemble:
    """Each with a mean field of its own: one that is known needs no work."""
    return rt.Ensemble("minimal", sigma_w=sigma_w, sigma_v=1.0, tied=True)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_written_without_progress(capsys):
    progress.reporter(None)(1, 2, "work")
    with progress.shown(None):
        progress.advance("work")
    assert capsys.readouterr() == ("", "")


def test_a_callable_is_called_as_it_is():
    seen = []
    progress.reporter(lambda *call: seen.append(call))(1, 2, "work")
    assert seen == [(1, 2, "work")]


@pytest.mark.parametrize("wrong", [1, "yes", object()])
def test_anything_else_is_refused(wrong):
    with pytest.raises(TypeError, match="expected None, True, or a callable"):
        progress.reporter(wrong)


def test_a_bar_shows_label_count_and_closes_at_the_end():
    stream = Terminal()
    bar = progress.ProgressBar(stream)
    for done in range(4):
        bar(done, 3, "sample")
    assert "sample" in stream.getvalue() and "3/3" in stream.getvalue() and stream.getvalue().endswith("\n")
    bar(0, 5, "next")
    bar.close()
    bar.close()
    assert "next" in stream.getvalue()


def test_an_unknown_total_counts_up():
    stream = Terminal()
    bar = progress.ProgressBar(stream)
    bar(7, 0, "points")
    bar.close()
    assert "points" in stream.getvalue() and "7it" in stream.getvalue()


def test_a_log_file_gets_few_lines():
    stream = io.StringIO()
    bar = progress.ProgressBar(stream)
    for done in range(1001):
        bar(done, 1000, "work")
    assert stream.getvalue().count("\r") <= 4 and "1000/1000" in stream.getvalue()


def test_work_on_threads_reaches_the_bar_of_the_front_door(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    seen = []
    with progress.shown(lambda *call: seen.append(call)):
        thread_map(lambda _: progress.advance("points", 2, 8), range(4))
    progress.advance("points")
    assert sorted(seen) == [(2, 8, "points"), (4, 8, "points"), (6, 8, "points"), (8, 8, "points")]


def test_an_inner_front_door_without_progress_reports_to_the_outer_one():
    seen = []
    with progress.shown(lambda *call: seen.append(call)), progress.shown(None):
        progress.advance("spectrum")
    assert seen == [(1, 0, "spectrum")]


def test_an_interrupt_leaves_no_bar_behind():
    with pytest.raises(KeyboardInterrupt), progress.shown(lambda *call: None):
        raise KeyboardInterrupt
    seen = []
    progress.advance("after")
    with progress.shown(lambda *call: seen.append(call)):
        progress.advance("again")
    assert seen == [(1, 0, "again")]


def test_work_that_is_done_again_starts_again():
    seen = []
    with progress.shown(lambda *call: seen.append(call)):
        for _ in range(3):
            progress.advance("populations", 1, 2)
    assert seen == [(1, 2, "populations"), (2, 2, "populations"), (1, 2, "populations")]


@pytest.mark.parametrize(
    ("call", "label"),
    [
        (lambda p: rt.mean_field(rt.Ensemble("lstm", sigma_v=1.0), sites=256, progress=p), "mean field"),
        (lambda p: rt.spectrum(rt.Ensemble("minimal", R=0.5), 1, population=512, progress=p), "Dyson"),
        (lambda p: rt.isometry(rt.Ensemble("minimal", R=0.5), 1, progress=p), "Dyson"),
        (lambda p: rt.phase_diagram(rt.Ensemble("vanilla"), sigma_w=np.ones(2), progress=p), "phase diagram"),
        (lambda p: rt.sample(rt.Ensemble("vanilla"), 1, N=4, trials=2, burn_in=1, progress=p), "sample"),
        (lambda p: rt.critical("gru", 2, sigma_v=0.5, free={"sigma_w": (0.5, 4.0)}, progress=p), "critical"),
        (lambda p: rt.eigenvalue_curve(tied(1.90), points=8, sites=64, progress=p), "tied mean field"),
        (lambda p: rt.spectral_radius(tied(1.95), sites=64, progress=p), "tied mean field"),
        (lambda p: rt.outliers(tied(2.00), low_rank=1.5, sites=64, progress=p), "tied mean field"),
    ],
    ids=["mean_field", "spectrum", "isometry", "phases", "sample", "critical", "curve", "radius", "outliers"],
)
def test_every_long_function_reports(call, label):
    seen = []
    call(lambda done, total, text: seen.append((done, total, text)))
    assert seen and any(label in text for _, _, text in seen)
    assert all(done <= total or total == 0 for done, total, _ in seen)
