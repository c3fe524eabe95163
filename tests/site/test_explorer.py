"""The explorer: its numbers are those of the library, it loads nothing, and it works in a real browser."""

import importlib.util
import json
import re
import shutil
import subprocess
import time
import urllib.parse

import numpy as np
import pytest
import webdriver
from documents import ROOT

import rmtrnn as rt

PAGE = ROOT / "docs" / "explorer" / "index.html"
TEXT = PAGE.read_text(encoding="utf-8")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
needs_browser = pytest.mark.skipif(not webdriver.available(), reason="needs chromium and chromedriver")


def element(name):
    """The text of a script element."""
    return re.search(rf'<script[^>]* ?id="{name}">(.*?)</script>', TEXT, re.DOTALL)[1]


def kernel(expression):
    """Value of an expression in the page's functions."""
    script = f"{element('kernel')}\nconsole.log(JSON.stringify({expression}));"
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def stored():
    return json.loads(element("laws"))


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("explorer_laws", ROOT / "tools" / "explorer_laws.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_stands_alone():
    assert len(TEXT.encode()) < 2_000_000
    assert not re.search(r"<(script|img|iframe|link)[^>]* (src|href)=\"(?!data:)", TEXT)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|@import|url\(", TEXT)


def close(ours, mean_field):
    assert ours["q"] == pytest.approx(mean_field.q, rel=1e-6)
    assert ours["chi"] == pytest.approx(mean_field.chi, rel=1e-6)
    assert ours["cStar"] == pytest.approx(mean_field.c_star, rel=1e-4)
    assert ours["timescale"] == pytest.approx(mean_field.timescale, rel=1e-3)


@needs_node
@pytest.mark.parametrize(
    ("sigma_w", "sigma_b"), [(0.6, 0.3), (1.05, 0.05), (1.6, 0.1), (2.5, 0.05), (2.0, 1.0)]
)
def test_mean_field_of_the_vanilla_cell(sigma_w, sigma_b):
    ens = rt.Ensemble("vanilla", sigma_w=sigma_w, sigma_b=sigma_b, Sigma=1.0)
    close(kernel(f"Kernel.vanilla({sigma_w}, {sigma_b})"), rt.mean_field(ens))


@needs_node
@pytest.mark.parametrize(("sigma_w", "mu_b"), [(1.0, -4.0), (5.5, 2.0), (7.0, 0.5), (7.0, 3.5), (7.0, 8.0)])
def test_mean_field_of_the_minimal_cell(sigma_w, mu_b, stored):
    ens = rt.Ensemble("minimal", sigma_w=sigma_w, mu_b=mu_b, Sigma=1.0, **stored["fixed"])
    fixed = stored["fixed"]
    close(kernel(f"Kernel.minimal({sigma_w}, {mu_b}, {fixed['sigma_v']}, {fixed['R']})"), rt.mean_field(ens))


@needs_node
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_law_of_the_vanilla_cell(weights):
    """At the ends of the sliders and between: density, median and mass."""
    cases = [
        (1.05, 0.05, 8),
        (1.05, 1.0, 1),
        (0.5, 0.05, 1000),
        (0.5, 1.0, 2),
        (2.5, 0.05, 1000),
        (2.5, 1.0, 2),
    ]
    law = f"Kernel.law(w, Kernel.vanilla(w, b).q, T, {json.dumps(weights == 'orthogonal')})"
    record = "(p => [p, Kernel.mass(p), Kernel.quantile(p, 0.5)])"
    for case, (points, mass, median) in zip(
        cases, kernel(f"{json.dumps(cases)}.map(([w, b, T]) => {record}({law}))"), strict=True
    ):
        ens = rt.Ensemble("vanilla", sigma_w=case[0], sigma_b=case[1], weights=weights)
        spec = rt.spectrum(ens, case[2])
        u, density = np.array(points).T
        scale = spec.log_s.icdf(0.9) - spec.log_s.icdf(0.1)
        assert 0.98 < mass < 1.01, case
        assert abs(median - spec.log_s.icdf(0.5)) < 0.02 * scale, case
        body = (u > spec.log_s.icdf(0.03)) & (u < spec.log_s.icdf(0.97))
        assert body.sum() > 20, case
        np.testing.assert_allclose(density[body], spec.log_s.pdf(u[body]), rtol=2e-3, err_msg=str(case))


@needs_node
def test_a_wrong_law_is_noticed():
    u, density = np.array(kernel("Kernel.law(1.05, Kernel.vanilla(1.05, 0.05).q, 8, true)")).T
    wrong = rt.spectrum(rt.Ensemble("vanilla", sigma_w=1.1, sigma_b=0.05, weights="orthogonal"), 8).log_s.pdf(
        u
    )
    assert np.abs(density - wrong).max() > 0.05 * density.max()


def test_stored_laws(stored, generator):
    """All are there; three of them computed anew."""
    axes = stored["axes"]
    assert axes == generator.AXES and stored["fixed"] == generator.FIXED
    shape = tuple(len(values) for values in axes.values())
    laws = np.array(stored["laws"], dtype=object).reshape(shape)
    resolved = [record["error"] is not None and record["error"] <= 0.05 for record in stored["laws"]]
    assert np.mean(resolved) > 0.98  # the page says so where a law is not
    for index in ((0, 4, 0, 1), (4, 3, 0, 0), (2, 5, 1, 1)):
        key = [values[i] for values, i in zip(axes.values(), index, strict=True)]
        u, density = generator.decode(laws[index])
        fresh = generator.law(*key)
        np.testing.assert_allclose(u, fresh["u"], atol=2e-5 * np.ptp(u))
        np.testing.assert_allclose(density, fresh["pdf"], atol=2e-5 * density.max())


@needs_node
def test_stored_laws_are_read_as_they_were_written(stored, generator):
    record, levels = json.dumps(stored["laws"][0]), json.dumps(stored["levels"])
    points = np.array(kernel(f"Kernel.decode({record}, {levels})"))
    u, density = generator.decode(stored["laws"][0])
    np.testing.assert_allclose(points, np.transpose([u, density])[::-1])


@needs_browser
def test_in_a_browser(tmp_path):
    with webdriver.Browser(1100, 1300, tmp_path / "profile") as browser:
        browser.open(PAGE)
        value = "return document.getElementById('{}').textContent"
        assert browser.run(value.format("phase")) == "ordered"
        ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05, Sigma=1.0)
        assert float(browser.run(value.format("chi"))) == pytest.approx(rt.mean_field(ens).chi, rel=1e-3)
        before = browser.run("return document.querySelector('#law .curve').getAttribute('d')")

        browser.press("#first", *["right"] * 20)  # the keyboard moves a slider, and everything follows
        deadline = time.monotonic() + 20.0  # a busy browser is behind with its keys
        while browser.run(value.format("first-value")) != "1.25" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert browser.run(value.format("first-value")) == "1.25"
        assert browser.run(value.format("phase")) == "chaotic"
        assert browser.run("return document.querySelector('#law .curve').getAttribute('d')") != before

        browser.press("input[value=minimal]", "space")
        assert browser.run(value.format("second-name")).startswith("μ_b")
        for end in ("home", "end"):
            for slider in ("#first", "#second", "#steps"):
                browser.press(slider, end)
            assert "Computed by rmtrnn" in browser.run(value.format("note"))
            assert browser.run("return document.querySelectorAll('svg .curve').length") == 2
        text = "return document.body.innerText"
        assert not re.search(r"NaN|undefined|null", browser.run(text))

        browser.resize(400, 900)  # a telephone: nothing sticks out, nothing is too small to read
        assert browser.run("return document.documentElement.scrollWidth") <= 400
        deadline = time.monotonic() + 20.0  # a busy browser is behind with its layout
        sizes = "return [...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
        while min(browser.run(sizes)) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert min(browser.run(sizes)) >= 8

        unnamed = "return [...document.querySelectorAll('input')].filter(i => !i.labels.length).length"
        assert browser.run(unnamed) == 0
        assert browser.run(
            "return [...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))"
        )
        assert not [entry for entry in browser.log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        asked = [one["request"]["url"] for one in sent if one["documentURL"].startswith("file:")]
        assert asked and {urllib.parse.urlsplit(url).scheme for url in asked} <= {"file", "data"}
