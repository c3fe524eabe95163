"""Cell files: the grammar says what it says, and hostile text gets one line of it."""

import string

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtrnn as rt
from rmtrnn.cli import grammar
from rmtrnn.cli.cellfile import CellFileError, parse_cell, read_cell
from rmtrnn.cli.grammar import FUNCTIONS
from rmtrnn.cli.limits import FILES

HEAD = "state h\ninput x\ngate e reads h\n"
GRU = """
name gru
state h
input x
gate r reads h
gate u reads h
keep = sigmoid(u)
gate c reads sigmoid(r)*h
h = keep*h + (1 - keep)*tanh(c)
"""
LSTM = """
state c, h
input x
gate f reads h
gate i reads h
gate o reads h
gate g reads h
memory = sigmoid(f)*c + sigmoid(i)*tanh(g)
c = memory
h = sigmoid(o)*tanh(memory)
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (HEAD + "h = tanh(e)", "vanilla"),
        (HEAD + "u = sigmoid(e)\nh = u*h + (1-u)*x  # Chen 2017", "minimal"),
        (GRU, "gru"),
    ],
)
def test_written_cells_are_the_library_s(text, name):
    own = parse_cell(text)
    parameters = {"sigma_w": 1.3, "sigma_v": 0.7, "mu_b": 0.4, "R": 0.8, "Sigma": 0.5}
    written, library = (rt.mean_field(rt.Ensemble(cell, **parameters)) for cell in (own, name))
    assert written.method == library.method == "moments"
    for quantity in ("chi", "chi_star", "timescale", "Q"):
        assert getattr(written, quantity) == pytest.approx(getattr(library, quantity), rel=1e-13)


def test_written_lstm_has_the_library_s_equations():
    own, library = parse_cell(LSTM), rt.LSTM()
    renamed = {gate.symbol: own.stages[0].gates[k].symbol for k, gate in enumerate(library.stages[0].gates)}
    assert own.stages[0].update == tuple(expr.xreplace(renamed) for expr in library.stages[0].update)
    assert own.gates == library.gates


def test_a_gate_that_reads_another_begins_a_stage():
    cell = parse_cell(GRU)
    assert [[gate.name for gate in stage.gates] for stage in cell.stages] == [["r", "u"], ["c"]]
    assert (
        len(cell.stages[1].inputs) == 3
    )  # r h, h and the update gate: no more is carried than the library does


def test_three_stages_are_the_composition():
    text = "state h\ninput x\ngate a reads h\ngate b reads tanh(a)\ngate d reads tanh(b)\nh = tanh(d)"
    cell = parse_cell(text)
    assert [[gate.name for gate in stage.gates] for stage in cell.stages] == [["a"], ["b"], ["d"]]
    # chi of a chain of stages with one site-state each is the product of the stages' slopes
    deep = rt.mean_field(rt.Ensemble(cell, sigma_w=1.2, sigma_b=0.3))
    shallow = rt.mean_field(rt.Ensemble("vanilla", sigma_w=1.2, sigma_b=0.3))
    assert deep.chi == pytest.approx(shallow.chi**3, rel=max(0.02, 3 * deep.error))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('__import__("os").system("true")', "cannot read"),
        ("h = e.real", "cannot read"),
        ("h = [e for e in h]", "cannot read"),
        ("h = 9^9^9^9", "a power of a power needs brackets"),
        ("h = (e^64)^64", "degree 64"),
        ("h = e^1000000", "exponent must be"),
        ("h = e^x", "exponent must be a number"),
        ("h = exp(exp(exp(e)))", "argument of exp can become larger"),
        ("h = " + "(" * 500 + "e" + ")" * 500, "inside each other"),
        ("h = " + "-" * 9000 + "e", "inside each other"),
        ("h = " + "relu(" * 9 + "e" + ")" * 9, "with a kink inside each other"),
        ("h = log(e)", "must be real and finite"),
        ("h = e/0", "not real and finite"),
        ("h = tahn(e)", "did you mean 'tanh'"),
        ("h = tanh", "a function needs brackets"),
        ("h = tanh(e, x)", "takes 1 argument"),
        ("h = 2e", "cannot read"),
        ("h = y", "unknown name 'y'"),
        ("h = e +", "the line ends"),
        ("h = (e", "expected ')'"),
        ("stat c", "did you mean 'state'"),
        ("x = e", "already in use"),
        ("tanh = e", "word of the language"),
        ("gate f reads", "gate NAME reads"),
        ("h = e\ny = h", "below its new value"),
        ("h = e\nh = x", "given twice"),
        ("input y", "input is given twice"),
        ("h = e, x", "unexpected 'e, x'"),
        ("h = e x", "unexpected 'x'"),
        ("h = tanh(e x)", "unexpected 'e x'"),
        ("h = tanh(*e)", "unexpected '*e'"),
        ("h = e)", "unexpected ')'"),
        ("h = ()", "unexpected '()'"),
        ("h = tanh(e)(x)", "unexpected 'tanh(e)(x)'"),
        ("h = max()", "max takes 1 to 8 arguments"),
        ("h = x if e else h", "word of Python"),
        ("lambda = e", "word of the language"),
        ("h = e^(2*2)", "exponent must be a number"),
        ("h = e^(1/0)", "division by zero"),
        ("h = 1e31*e", "not between 1e-30 and 1e30"),
        ("h = " + "9" * 30, "cannot read"),
        ("h = 1e400*e", "cannot read"),
        ("h = 1_0*e", "cannot read"),
        ("h = 0x10*e", "cannot read"),
        ("h = e" + "+e" * 7900, "2000 parts"),
        ("h = " + "((-" * 20 + "e" + "))" * 20, "inside each other"),
        ("h = " + "+".join("(" * 39 + "e" + ")" * 39 for _ in range(150)), "2000 parts"),
        ("", "no line gives the new value of h"),
    ],
)
def test_refusals_say_where_and_why(line, message):
    with pytest.raises(CellFileError) as refused:
        parse_cell(HEAD + line)
    assert message in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_numbers_are_exact_decimals_and_powers_bind_as_in_python():
    names = {name: grammar.Node("name", name) for name in "hxe"}
    text = "-e^2 + 0.1*x - (1/2)*x^(-1/2)*e**-2 + 12345678901234567890*h/007.5e-01"
    found = grammar.to_sympy(grammar.parse(text, names))
    h, x, e = (sp.Symbol(name, real=True) for name in "hxe")
    exact = (
        -(e**2) + x / 10 - x ** sp.Rational(-1, 2) * e**-2 / 2 + h * 12345678901234567890 / sp.Rational(3, 4)
    )
    assert sp.expand(found - exact) == 0


def test_long_sums_are_read_without_recursion():
    (update,) = parse_cell(HEAD + "h = e" + "+e" * 1900).stages[0].update
    assert update == 1901 * next(iter(update.free_symbols))


def test_definitions_cannot_grow_without_bound():
    doubling = "a0 = e*e\n" + "".join(f"a{i} = a{i - 1} + a{i - 1}\n" for i in range(1, 60))
    with pytest.raises(CellFileError, match="2000 parts or 100 levels"):
        parse_cell(HEAD + doubling + "h = a59")


def test_a_gate_must_read_the_state():
    with pytest.raises(CellFileError, match="every gate reads the input"):
        parse_cell("state h\ninput x\ngate e reads x*h\nh = e")


def test_size_and_encoding_of_files(tmp_path):
    path = tmp_path / "own.cell"
    path.write_bytes(b"#" * (FILES.cell_bytes + 1))
    with pytest.raises(CellFileError, match="at most 16384 bytes"):
        read_cell(path)
    path.write_bytes(b"state \xff\xfe")
    with pytest.raises(CellFileError, match="UTF-8"):
        read_cell(path)
    path.write_text("\n" * 300)
    with pytest.raises(CellFileError, match="200 lines"):
        read_cell(path)
    path.write_text((HEAD + "h = tanh(e)").replace("\n", "\r\n"))
    assert read_cell(path).name == "own"


WORDS = st.sampled_from(
    ["h", "x", "e", "u", "state", "input", "gate", "reads", "name", "=", "\n", "\n", "(", ")", "+", "-", "*",
     "/", "^", "**", ",", "0", "1", "2.5", "1e9", "1e-30", "64", "pi", "#", "é", "'", "__class__", "lambda",
     *FUNCTIONS]
)  # fmt: skip
ATOMS = st.sampled_from(["h", "x", "e", "0", "1", "0.1", "64", "1e30", "pi"])


def grown(inner):
    unary = st.tuples(st.sampled_from(sorted(set(FUNCTIONS) - {"max", "min"})), inner).map(
        lambda p: f"{p[0]}({p[1]})"
    )
    binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(
        lambda p: f"({p[0]}{p[1]}{p[2]})"
    )
    power = st.tuples(inner, st.sampled_from(["2", "64", "-1", "(1/2)", "0"])).map(
        lambda p: f"({p[0]})^{p[1]}"
    )
    several = st.tuples(st.sampled_from(["max", "min"]), inner, inner).map(lambda p: f"{p[0]}({p[1]},{p[2]})")
    return st.one_of(unary, binary, power, several)


def only_its_own_error(text):
    try:
        cell = parse_cell(text)
    except CellFileError as error:
        assert len(str(error)) < 400 and "\n" not in str(error)
    else:
        assert isinstance(cell, rt.Cell) and rt.Cell.from_dict(cell.to_dict()) == cell


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=200), st.text(alphabet=string.printable, max_size=200)))
def test_random_text_raises_only_the_grammar_s_error(text):
    only_its_own_error(text)
    only_its_own_error(HEAD + "h = " + text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_random_words_raise_only_the_grammar_s_error(text):
    only_its_own_error(text)
    only_its_own_error(HEAD + "h = " + text)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.recursive(ATOMS, grown, max_leaves=12))
def test_random_expressions_are_a_cell_or_refused(text):
    only_its_own_error(HEAD + "h = " + text)
