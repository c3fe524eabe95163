"""The command line: what it prints, how it ends, and that it agrees with the library."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import cli
from rmtrnn.cells import LIBRARY
from rmtrnn.cli import COMMANDS, commands, meaning, output
from rmtrnn.cli.options import OPTIONS
from rmtrnn.meanfield import MeanField
from rmtrnn.phase import PICTURED
from rmtrnn.spectra import Spectrum

ROOT = Path(__file__).resolve().parents[1]
VANILLA = ["vanilla", "--sigma-w", "1.05", "--sigma-b", "0.05", "--weights", "orthogonal", "--T", "8"]


def refuse_constants(text):
    raise AssertionError(f"{text} is not JSON")


def run(capsys, *arguments):
    """(exit status, document or text on standard output, standard error)."""
    status = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return status, json.loads(out, parse_constant=refuse_constants) if "--json" in arguments else out, err


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == "" and err.startswith("rmtrnn: error: ") and err.count("\n") == 1
    return err


def test_spectrum_is_the_library_s(capsys):
    status, found, err = run(capsys, "spectrum", *VANILLA, "--points", "20", "--json")
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05, weights="orthogonal")
    spec = rt.spectrum(ens, T=8)
    assert status == 0 and err == ""
    assert rt.Ensemble.from_dict(found["ensemble"]) == ens
    assert found["variance"] == spec.variance and found["quantiles"]["0.5"] == spec.icdf(0.5)
    density = {name: np.array(values) for name, values in found["density"].items()}
    assert np.array_equal(density["pdf"], spec.log_s.pdf(density["log_s"])) and density["log_s"].size == 20


def test_mean_field_and_words_for_numbers_that_json_lacks(capsys):
    status, found, _ = run(
        capsys, "mean-field", "vanilla", "--activation", "linear", "--sigma-w", "1", "--R", "0", "--json"
    )
    field = rt.mean_field(rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0, R=0.0))
    assert found["chi"] == field.chi and found["timescale"] == output.plain(field.timescale) == "Infinity"
    assert status == (0 if field.converged else 1)


def test_plain_values_are_json():
    values = {"a": np.array([1.0, math.inf, -math.inf, math.nan]), 2: (np.int64(3), None, True)}
    text = output.as_json(values)
    assert json.loads(text, parse_constant=refuse_constants) == {
        "a": [1.0, "Infinity", "-Infinity", "NaN"],
        "2": [3, None, True],
    }
    assert float("-Infinity") == -math.inf and math.isnan(float("NaN"))


def test_phase_takes_grids_from_flags(capsys):
    arguments = ["minimal", "--sigma-w", "1:8:3", "--mu-b", "-4:8:4", "--sigma-v", "1", "--R", "0.46"]
    status, found, err = run(capsys, "phase", *arguments, "--json")
    ens = rt.Ensemble("minimal", sigma_v=1.0, R=0.46)
    pd = rt.phase_diagram(ens, sigma_w=np.linspace(1, 8, 3), mu_b=np.linspace(-4, 8, 4))
    assert status == 0 and np.array_equal(found["chi"], pd.chi) and "phase diagram: 100%" in err
    _, _, err = run(capsys, "phase", *arguments, "--json", "--quiet")
    assert err == ""


def test_phase_along_one_gate(capsys):
    gates = ["--mu-b", "r=0,u=-1:2:3,c=0", "--sigma-v", "1"]
    _, found, _ = run(capsys, "phase", "gru", *gates, "--json")
    ens = rt.Ensemble("gru", sigma_v=1.0)
    pd = rt.phase_diagram(ens, mu_b={"u": np.linspace(-1, 2, 3)})
    assert list(found["axes"]) == ["mu_b.u"] and np.array_equal(found["chi"], pd.chi)


def test_configuration_and_flags(capsys, tmp_path):
    config = tmp_path / "own.toml"
    config.write_text(
        'cell = "gru"\nsigma_w = {r = 1, u = 2.0, c = 1.5}\nmu_b = 0.5\ntied = true\nsigma_v = 0.1\n'
    )
    _, found, _ = run(
        capsys, "mean-field", "--config", str(config), "--sigma-v", "0.7", "--no-tied", "--json"
    )
    ens = rt.Ensemble("gru", sigma_w={"r": 1.0, "u": 2.0, "c": 1.5}, mu_b=0.5, sigma_v=0.7)
    assert rt.Ensemble.from_dict(found["ensemble"]) == ens
    assert found["chi"] == rt.mean_field(ens).chi


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sigmaw = 1", "unknown key 'sigmaw' (did you mean 'sigma_w'?)"),
        ("[ensemble]\nsigma_w = 1", "unknown key 'ensemble'"),
        ("sigma_w = 'wide'", "expected a number, or a grid"),
        ("sigma_w = true", "expected a number"),
        ("tied = 1", "expected true or false"),
        ("steps = 1.5", "expected an integer"),
        ("sigma_w = [1, 2]", "a grid belongs to the command phase"),
        ("sigma_w = ", "is not TOML"),
        ("sigma_w = nan", "must be a finite number"),
    ],
)
def test_bad_configuration(capsys, tmp_path, text, message):
    config = tmp_path / "own.toml"
    config.write_text(text)
    assert message in refused(capsys, "mean-field", "vanilla", "--config", str(config))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spectrum", "vanilla"], "Give --T"),
        (["spectrum", "--T", "3"], "which cell?"),
        (["spectrum", "vanila", "--T", "3"], "did you mean 'vanilla'"),
        (["spectrum", "vanilla", "--cell", "gru", "--T", "3"], "given twice"),
        (["spectrum", "vanilla", "--T", "three"], "--T = 'three': expected an integer"),
        (["spectrum", "vanilla", "--T", "0"], "T = 0"),
        (["spectrum", "vanilla", "--sigma-w", "-1", "--T", "3"], "sigma_w = -1.0: must be a finite"),
        (["spectrum", "vanilla", "--sigma-w", "e=1,e=2", "--T", "3"], "each name once"),
        (["spectrum", "vanilla", "--sigma-w", "r=1", "--T", "3"], "unknown gates ['r']"),
        (["spectrum", "vanilla", "--sigma-w", "1:2:3", "--T", "3"], "belongs to the command phase"),
        (["spectrum", "vanilla", "--sigmaw", "1", "--T", "3"], "did you mean '--sigma-w'"),
        (["spectrum", "gru", "--activation", "erf", "--T", "3"], "belongs to the cell 'vanilla'"),
        (["spectrum", "vanilla", "--activation", "tanhh", "--T", "3"], "activation = 'tanhh'"),
        (["spectrum", "vanilla", "--T", "3", "--plot", "law.exe"], "must end in .png"),
        (["spectrum", "vanilla", "--T", "3", "--plot", "/no/such/folder/law.png"], "no such folder"),
        (["spectrum", "gru", "--method", "s-transform", "--T", "3"], "are not free"),
        (["spectrum", "a\x00b", "--T", "3"], "neither one of"),
        (["mean-field", "vanilla", "--config", "/no/such/file.toml"], "cannot be read: No such file"),
        (["mean-field", "vanilla", "--config", "/"], "cannot be read"),
        (["mean-field", "vanilla", "--config", "a\x00b"], "cannot be read"),
        (["phase", "vanilla", "--sigma-w", "1:2:3", "--quantity", "chy"], "did you mean 'chi'"),
        (["phase", "vanilla", "--sigma-w", "1:2:3", "--quantity", "zzz"], "known are chi, chi_star"),
        (["mean-field", "vanilla", "--save", "kept.txt"], "must end in .npz"),
        (["mean-field", "vanilla", "--save", "/no/such/folder/kept.npz"], "no such folder"),
        (["phase", "vanilla"], "phase needs a grid"),
        (["phase", "vanilla", "--sigma-w", "1:2:99999999"], "must be from 1 to"),
        (["critical", "vanilla", "--T", "3", "--sigma-w", "1"], "the closed form finds it"),
        (["critical", "vanilla", "--T", "3", "--band", "1.1"], "expected low:high"),
        (["spektrum"], "invalid choice of command: 'spektrum' (did you mean 'spectrum'?)"),
        (["simulate", "vanilla"], "did you mean 'sample'"),
        (["spectrum", "vanilla", "--steps", "3"], "did you mean '--T'"),
        (["mean-field", "vanilla", "--T", "3"], "did you mean '--steps'"),
        (["sample", "vanilla", "--T", "3", "--width", "64"], "did you mean '--N'"),
        (["spectrum", "vanilla", "--T", "3", "--bias", "1"], "did you mean '--mu-b'"),
        (["spectrum", "vanilla", "--T", "3", "--gain", "1"], "did you mean '--sigma-w'"),
        (["spectrum", "vanilla", "--T", "3", "--output", "kept.npz"], "did you mean '--save'"),
        (["phase", "vanilla", "--sigma-w", "1:2:3", "--quantity", "xi"], "did you mean 'timescale'"),
        (["spectrum", "elman", "--T", "3"], "did you mean 'vanilla'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_a_word_with_no_meaning_here_gets_no_advice(capsys):
    for arguments in (["--width", "64"], ["--zzz", "1"]):  # a law has no width
        assert "did you mean" not in refused(capsys, "spectrum", "vanilla", "--T", "3", *arguments)


def test_other_words_stand_for_names_that_exist():
    for meanings, known in (
        (meaning.OPTIONS, {*OPTIONS, "config", "json", "quiet"}),
        (meaning.COMMANDS, {*COMMANDS, "reproduce"}),
        (meaning.QUANTITIES, PICTURED),
        (meaning.CELLS, LIBRARY),
    ):
        assert set(meanings) <= set(known)
        for name, words in meanings.items():
            assert name not in words.split() and len(set(words.split())) == len(words.split())


def test_code_in_place_of_a_cell_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "witness"
    hostile = f'__import__("os").system("touch {witness}")'
    program = tmp_path / "hostile.cell"
    program.write_text(f"state h\ninput x\ngate e reads h\nh = {hostile}\n")
    for cell, *more in (
        ('__import__("os").system("true")',), (hostile, "--T", "2"), (str(program), "--T", "2")
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "rmtrnn", "spectrum", "--cell", cell, *more],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
        assert done.stderr.startswith("rmtrnn: error: ") and "--T" not in done.stderr
    assert not witness.exists()


def test_cell_file(capsys):
    own = ["mean-field", str(ROOT / "examples" / "cells" / "gru.cell"), "--sigma-v", "1", "--json"]
    library = ["mean-field", "gru", "--sigma-v", "1", "--json"]
    assert run(capsys, *own)[1]["chi"] == pytest.approx(run(capsys, *library)[1]["chi"], rel=1e-13)


def test_critical_vanilla(capsys):
    status, found, _ = run(capsys, "critical", "vanilla", "--T", "100", "--R", "0.46", "--json")
    point = rt.critical("vanilla", T=100, R=0.46)
    assert status == 0 and found["found"] and rt.Ensemble.from_dict(found["ensemble"]) == point.ensemble
    assert found["variance"] == point.variance and found["isometry"]["in_band"] == point.isometric


def test_critical_by_a_solve(capsys):
    arguments = ["gru", "--T", "50", "--sigma-v", "0.5", "--weights", "gaussian", "--free", "sigma_w=0.5:4"]
    status, found, err = run(capsys, "critical", *arguments, "--json", "--quiet")
    assert status == 0 and err == ""
    field = rt.mean_field(rt.Ensemble.from_dict(found["ensemble"]))
    assert field.chi == pytest.approx(1.0, abs=1e-8) and found["isometry"] is None


def test_no_critical_point_is_status_1(capsys):
    arguments = ["gru", "--T", "5", "--sigma-v", "0.5", "--free", "sigma_w=0.1:0.2", "--json"]
    status, found, err = run(capsys, "critical", *arguments)
    assert status == 1 and found["found"] is False and found["side"] == "ordered"
    assert "no critical point" in err


def test_unstable_network_is_status_1(capsys):
    arguments = [
        "mean-field",
        "vanilla",
        "--activation",
        "linear",
        "--sigma-w",
        "1.5",
        "--sigma-b",
        "1",
        "--json",
    ]
    status, found, err = run(capsys, *arguments)
    assert status == 1 and found["status"] == "diverged" and found["Q"] == "NaN" and "not converged" in err


def test_sample_compared_saved_and_drawn(capsys, tmp_path):
    saved, picture = tmp_path / "sample.npz", tmp_path / "sample.png"
    status, found, err = run(
        capsys, "sample", "vanilla", "--T", "3", "--N", "24", "--trials", "3", "--burn-in", "50", "--compare",
        "--save", str(saved), "--plot", str(picture), "--json",
    )  # fmt: skip
    mc = rt.sample(rt.Ensemble("vanilla"), T=3, N=24, trials=3, burn_in=50)
    assert status == 0 and found["moments"]["1"]["value"] == mc.moment(1).value
    assert found["comparison"]["verdict"] in ("agrees", "undecided", "disagrees") and "sample: 100%" in err
    assert np.array_equal(rt.load(saved).log_s, mc.log_s)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", [*cli.COMMANDS, "reproduce"])
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  rmtrnn {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_examples_of_the_help_are_valid(command):
    words = cli._joined(cli.COMMANDS[command].example.split()[1:])
    options, unknown = cli._parser().parse_known_args(words)
    assert unknown == [] and cli.settings(options, cli.COMMANDS[command].options)["cell"] in rt.cells.LIBRARY


def test_no_command_prints_help(capsys):
    status, out, _ = run(capsys)
    assert status == 2 and "COMMAND" in out


def test_reproduce_lists_the_studies_of_a_checkout():
    done = subprocess.run(
        [sys.executable, "-m", "rmtrnn", "reproduce"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "quickstart" in done.stdout


def test_reproduce_without_a_checkout(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands.rt, "__file__", str(tmp_path / "site-packages" / "rmtrnn" / "__init__.py"))
    assert "clone the repository" in refused(capsys, "reproduce", "quickstart")


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    def broken(settings, progress):
        raise KeyError("surprise")

    monkeypatch.setattr(commands, "mean_field", broken)
    with pytest.raises(KeyError):
        cli.main(["mean-field", "vanilla"])


def test_traceback_on_request():
    with pytest.raises(ValueError, match="which cell"):
        cli.main(["spectrum", "--T", "3", "--traceback"])


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m rmtrnn spectrum vanilla --T 2 --points 20000 --json | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False, cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "{\n" and done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["spectrum", "vanilla", "--sigma-b", "0.1", "--T", "2"],
        ["mean-field", "vanilla", "--sigma-b", "0.1"],
        ["phase", "vanilla", "--sigma-w", "0.5:1.5:2", "--sigma-b", "0.1:0.2:2"],
        ["critical", "vanilla", "--T", "3", "--R", "0.46"],
        ["initialize", "vanilla", "--T", "6", "--mu-b", "0"],
        ["sample", "vanilla", "--T", "2", "--N", "8", "--trials", "2", "--burn-in", "5"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_keeps_its_result(capsys, tmp_path, arguments):
    path = tmp_path / "kept.npz"
    status, found, _ = run(capsys, *arguments, "--save", str(path), "--json", "--quiet")
    kept = rt.load(path)
    assert status == 0 and kept.ensemble.to_dict()["cell"] == found["ensemble"]["cell"]
    assert kept.kind == {
        "mean-field": "mean field",
        "phase": "phase diagram",
        "critical": "critical point",
        "initialize": "initialisation plan",
    }.get(arguments[0], arguments[0])


def test_help_is_in_groups_and_says_where_grids_are_taken(capsys):
    for command, says_grid in (("phase", True), ("spectrum", False)):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        text = capsys.readouterr().out
        assert "the network:" in text and "what is printed and written:" in text
        assert ("start:stop:count" in text.partition("example:")[0]) is says_grid


def test_advice_of_an_unconverged_result_names_options_that_exist(capsys):
    arguments = ["mean-field", "vanilla", "--activation", "linear", "--sigma-w", "1.5", "--sigma-b", "1"]
    status, _, err = run(capsys, *arguments, "--json")
    options = {"--" + name.replace("_", "-") for name in cli.COMMANDS["mean-field"].options}
    assert status == 1 and "smaller sigma_w" in err and "--sigma-w" in options
    assert "max_iterations" not in err


@pytest.mark.parametrize(("command", "result"), [("spectrum", Spectrum), ("mean-field", MeanField)])
def test_remedies_of_a_result_are_options_of_its_command(command, result):
    named = {word for text in result.remedies.values() for word in re.findall(r"(\w+)=", text)}
    assert named and named <= set(cli.COMMANDS[command].options)


def test_accuracy_of_the_dyson_equation_is_an_option(capsys):
    arguments = ["minimal", "--R", "0.5", "--T", "1", "--population", "512", "--tol", "0.01"]
    _, found, _ = run(capsys, "spectrum", *arguments, "--json", "--quiet")
    spec = rt.spectrum(rt.Ensemble("minimal", R=0.5), 1, population=512, tol=0.01)
    assert found["quantiles"]["0.5"] == spec.icdf(0.5) and found["error"] == spec.error


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell, capsys):
    pytest.importorskip("shtab")
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "spectrum" in script and "sigma-w" in script


def test_completion_refuses_a_shell_it_does_not_know(capsys):
    assert cli.main(["completion", "fish"]) == 2
    assert "fish" in capsys.readouterr().err


def test_lines_of_pytorch(capsys):
    """They draw what the plan says, in the order of PyTorch's rows; other cells are refused."""
    status, text, err = run(capsys, "initialize", "gru", "--T", "4", "--mu-b", "u=3", "--torch", "--quiet")
    assert status == 0 and err == "" and "torch.nn.GRU(" in text
    names: dict[str, Any] = {}
    exec(text[text.index("GATES") :].split("\n\n")[0], names)  # our own table
    plan = rt.initialize("gru", 4, fix={"mu_b": {"u": 3.0}})
    for gate, row in zip("ruc", names["GATES"].values(), strict=True):
        law = plan.ensemble.gate(gate)
        expected = [law.sigma_w, law.sigma_v, law.mu_b, law.sigma_b, 0.0, 0.0]
        assert row == pytest.approx(expected, rel=1e-5)
    assert "slow" not in text  # the bias of u is fixed for all units
    assert names["GATES"]["update"][2] == 3.0
    assert "frameworks have" in refused(capsys, "initialize", "mgu", "--T", "4", "--torch")
    mixed = ["--weights", "r=gaussian,u=orthogonal,c=orthogonal"]
    assert "all gates" in refused(capsys, "initialize", "gru", "--T", "4", "--torch", *mixed)
    assert '"T"' in cli_json(capsys, "initialize", "vanilla", "--T", "4", "--torch", "--json")


def cli_json(capsys, *arguments):
    """The document, printed as text."""
    return json.dumps(run(capsys, *arguments)[1])


@pytest.mark.parametrize(("cell", "gates"), [("vanilla", 1), ("lstm", 4), ("gru_reset_after", 3)])
def test_lines_of_pytorch_run(capsys, cell, gates):
    torch = pytest.importorskip("torch")
    _, text, _ = run(capsys, "initialize", cell, "--T", "3", "--R", "0.5", "--torch", "--quiet")
    names: dict[str, Any] = {}
    exec(text, names)  # our own lines
    module, N = names["module"], names["module"].hidden_size
    for k, (sigma_w, sigma_v, mu_b, sigma_b, own_mu, own_sigma) in enumerate(names["GATES"].values()):
        rows = slice(k * N, (k + 1) * N)
        W = module.weight_hh_l0[rows].detach()
        assert torch.allclose(W @ W.T, sigma_w**2 * torch.eye(N), atol=1e-4)
        assert float(module.weight_ih_l0[rows].detach().std()) * 28**0.5 == pytest.approx(sigma_v, rel=0.1)
        for bias, mean, size in ((module.bias_ih_l0, mu_b, sigma_b), (module.bias_hh_l0, own_mu, own_sigma)):
            if cell == "vanilla" or k not in {"lstm": (0, 1), "gru_reset_after": (1,)}[cell]:
                assert float(bias[rows].detach().mean()) == pytest.approx(mean, abs=0.4 * size + 1e-6)
    kept = module.bias_ih_l0[N : 2 * N].detach()
    if cell != "vanilla":  # fast units have the bias 0, about a quarter of them; the others that of the table
        fast = kept == 0.0
        slow = list(names["GATES"].values())[1][2]
        assert 0.1 < float(fast.float().mean()) < 0.4 and torch.allclose(kept[~fast], torch.tensor(slow))
    if cell == "lstm":
        assert torch.equal(module.bias_ih_l0[:N].detach(), -kept)
    assert len(names["GATES"]) == gates and module.bias_ih_l0.shape == (gates * N,)
