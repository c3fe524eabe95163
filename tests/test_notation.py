"""Docstrings and the notation table of docs/theory.md agree: one letter, one meaning."""

import ast
import re

import pytest
from documents import ROOT

TEXT = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Notation")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in SECTION.splitlines()
    if line[:3] == "| $"
]
# Letters that once had several meanings, by their spelling in code → words of the table that name it.
WORDS: dict[str, list[str]] = {}
for _, meaning, code in ROWS:
    for spelling in re.findall(r"`\.?(\w|Sigma|theta)`", code):
        named = re.findall(r"\*(.+?)\*", re.sub(r"\$.*?\$", "", meaning))
        if named:
            WORDS.setdefault(spelling, []).extend(named)
MODULES = sorted((ROOT / "rmtrnn").rglob("*.py"))


def used(path):
    """(letter, where, docstrings around) of every argument and field of a module that is one of `WORDS`."""
    found = []

    def visit(node, around, where):
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.ClassDef):
                visit(child, around, where)
                continue
            text = f"{around} {ast.get_docstring(child) or ''}"
            if isinstance(child, ast.FunctionDef):
                given = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
                names = [argument.arg for argument in given]
            else:
                fields = [item.target for item in child.body if isinstance(item, ast.AnnAssign)]
                names = [item.id for item in fields if isinstance(item, ast.Name)]
            found.extend((name, f"{where}{child.name}", text) for name in names if name in WORDS)
            visit(child, text, f"{where}{child.name}.")

    tree = ast.parse(path.read_text(encoding="utf-8"))
    visit(tree, ast.get_docstring(tree) or "", f"{path.relative_to(ROOT)}: ")
    return found


def names_its_meaning(letter, text):
    """Whether the docstrings use a word of the table for it: λ and σ may be spelled out."""
    plain = " ".join(text.lower().split())
    return any(re.search(rf"\b{word.lower()}", plain) for word in WORDS[letter])


def test_every_symbol_has_one_row():
    symbols = [symbol for row in ROWS for symbol in re.findall(r"\$(.+?)\$", row[0])]
    assert len(symbols) > 60
    assert len(set(symbols)) == len(symbols)
    spellings = [name for row in ROWS for name in re.findall(r"`([\w.]+)`", row[2])]
    assert len(set(spellings)) == len(spellings)


def test_letters_of_the_table():
    assert set(WORDS) >= set("NTRQqpFMu") | {"Sigma", "theta"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "rmtrnn").as_posix())
def test_docstrings_name_the_meaning_of_a_letter(path):
    """An argument or a field named by such a letter: a docstring around it has a word of the table for it."""
    unnamed = [
        f"{where}({letter})" for letter, where, text in used(path) if not names_its_meaning(letter, text)
    ]
    assert not unnamed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "rmtrnn").as_posix())
def test_the_self_energy_is_not_called_sigma(path):
    """Sigma is the correlation of inputs."""
    assert not re.findall(r"\bSigma\[|\bIm Sigma\b|- Sigma\)", path.read_text(encoding="utf-8"))


def test_a_conflict_is_found():
    assert not names_its_meaning("p", "Strengths p and q of the self-energy at the points.")
    assert names_its_meaning("p", "Density p of u.")
