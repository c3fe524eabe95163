"""Pictures: what is drawn are the numbers, and drawings can be made again from saved arrays."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import plotting


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def relu():
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=math.sqrt(2))
    return rt.spectrum(ens, T=2), rt.sample(ens, T=2, N=64, trials=3, burn_in=10)


def test_line_is_the_density_of_log10_s(relu):
    spec, _ = relu
    ax = plotting.plot_spectrum(spec)
    x, y = ax.get_lines()[0].get_data()
    seen = np.isfinite(y)
    assert np.allclose(y[seen], math.log(10) * spec.log_s.pdf(math.log(10) * x[seen]), rtol=1e-10)
    mass = spec.log_s.cdf(math.log(10) * x[-1]) - spec.log_s.cdf(math.log(10) * x[0])
    assert np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) == pytest.approx(mass, rel=1e-3)


def test_histogram_is_normalised_by_all_singular_values(relu):
    spec, mc = relu
    picture = plotting.SpectrumPicture.of(spec, mc.log_s)
    finite = mc.log_s[np.isfinite(mc.log_s)]
    seen = np.mean(
        np.concatenate([finite >= picture.edges[0] * math.log(10), np.zeros(mc.log_s.size - finite.size)])
    )
    assert np.sum(picture.heights * np.diff(picture.edges)) == pytest.approx(seen, abs=1e-12)
    ((place, mass, share),) = picture.atoms
    assert place == -math.inf and mass == pytest.approx(0.5) and share == np.mean(mc.log_s == -math.inf)


def test_atom_of_a_rotation_takes_the_whole_sample():
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.1, weights="orthogonal")
    picture = plotting.SpectrumPicture.of(
        rt.spectrum(ens, 3), rt.sample(ens, 3, N=16, trials=2, burn_in=1).log_s
    )
    assert picture.atoms == pytest.approx(np.array([[3 * math.log10(1.1), 1.0, 1.0]]))
    assert picture.heights.sum() == 0.0 and picture.x.size == 0


def test_picture_is_the_same_from_its_saved_arrays(relu):
    spec, mc = relu
    picture = plotting.SpectrumPicture.of(spec, mc.log_s)
    again = plotting.SpectrumPicture(**picture.arrays())
    first, second = (one.draw(plt.subplots()[1]) for one in (picture, again))
    assert np.array_equal(
        first.get_lines()[0].get_xydata(), second.get_lines()[0].get_xydata(), equal_nan=True
    )
    assert len(first.get_legend().get_texts()) == 3  # sample, theory, atom
    assert len(again.draw(plt.subplots()[1], key=False).get_legend().get_texts()) == 1


def test_given_axes_are_used_and_style_stays_outside(relu):
    spec, mc = relu
    before = dict(plt.rcParams)
    ax = plt.subplots()[1]
    assert plotting.plot_comparison(spec, mc, ax) is ax and spec.plot(ax) is ax
    assert dict(plt.rcParams) == before and len(plt.get_fignums()) == 1


def test_correlation_trajectory():
    mf = rt.mean_field(rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=0.3), steps=12)
    ax = plotting.plot_correlation(mf)
    assert np.array_equal(ax.get_lines()[0].get_ydata(), mf.c_t)
    assert ax.get_lines()[1].get_ydata()[0] == mf.c_star
    with pytest.raises(ValueError, match="steps"):
        plotting.plot_correlation(rt.mean_field(mf.ensemble))


def test_phase_diagram_shows_the_boundary():
    ens = rt.Ensemble("vanilla", sigma_b=0.1)
    phases = rt.phase_diagram(ens, sigma_w=np.linspace(0.5, 2, 5), sigma_b=np.linspace(0.05, 0.5, 4))
    ax = plotting.plot_phase_diagram(phases)
    assert np.array_equal(ax.collections[0].get_array(), phases.chi.T)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"$\chi = 1$"]
    with pytest.raises(ValueError, match="quantity"):
        plotting.plot_phase_diagram(phases, "entropy")
