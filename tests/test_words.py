"""The words of docs/glossary.md replace private ones: these must not come back."""

import re

import pytest
from documents import ROOT

# Private word (a pattern) → the field's word, which docs/glossary.md defines.
REPLACED = {
    r"strengths?": "self-energy coefficients",
    r"felt": "gauge-invariant step norm",
    r"grain": "mass resolution",
    r"smeared": "Stieltjes transform on the negative axis",
    r"steer(?:s|ed|ing)?": "subsample levels",
    r"polish(?:ed|es)?": "Newton corrector",
    r"tilted": "exponential tilting",
    r"touched rows": "reduced dimension",
    r"found[ _]anew": "deflation",
    r"kept weights|weights (?:that )?are kept|keeps? (?:its|their) weights": "tied",
    r"redraws? the weights": "untied",
    r"redrawn(?!\")": "untied",  # as a last word: what a user of the command line may say
    r"yardstick": "reference",
}
FILES = [
    *sorted((ROOT / "rmtrnn").rglob("*.py")),
    *sorted((ROOT / "validation").rglob("*.py")),
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "glossary.md"),
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_private_words_are_gone(path):
    text = " ".join(path.read_text(encoding="utf-8").split())
    found = {
        match[0]: word
        for pattern, word in REPLACED.items()
        for match in re.finditer(rf"\b(?:{pattern})\b", text, flags=re.IGNORECASE)
    }
    assert not found


def test_a_private_word_is_found():
    assert any(re.search(rf"\b(?:{pattern})\b", "The strengths of (13).") for pattern in REPLACED)
