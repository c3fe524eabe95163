"""The estimate of the time of a law: of the right size, and only where somebody looks."""

import re
import time

import pytest

import rmtrnn as rt
from rmtrnn.dyson import chain_law

ENS = rt.Ensemble("gru", sigma_w=2.0, R=0.5, sigma_b=0.3)


def test_the_time_is_announced_before_the_work():
    seen = []
    start = time.perf_counter()
    rt.spectrum(ENS, 3, population=16384, progress=lambda *call: seen.append(call))
    took = time.perf_counter() - start
    texts = [label for done, total, label in seen if done == total == 0]
    if texts:
        [text] = texts
        number, unit = re.fullmatch(r"Dyson equation, about ([\d.]+) (s|min)", text).groups()
        assert seen[0][2] == text
        assert took / 8 < float(number) * {"s": 1.0, "min": 60.0}[unit] < 8 * took
    else:
        assert took < 8 * 2.0


def test_the_time_of_a_tied_law_is_announced_before_the_work():
    seen = []

    def stop(*call):
        seen.append(call)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rt.spectrum(ENS.replace(tied=True), 10, population=64, progress=stop)
    [(done, total, text)] = seen
    assert done == total == 0 and re.fullmatch(r"Dyson equation, tied weights, about \d+ (s|min)", text)


def test_nothing_is_measured_where_nobody_looks(monkeypatch):
    def refuse(*_):
        raise AssertionError("measured")

    monkeypatch.setattr(chain_law, "seconds_of_law", refuse)
    assert rt.spectrum(rt.Ensemble("minimal", R=0.5), 1, population=512).converged
