"""Section 6 of docs/theory.md: which functions compute each equation, and which tests check it.

``python -m tools.equation_table`` writes the table, ``--check`` only compares it. The functions are those of
the lines "*Computed by*" in docs/theory.md, the tests those marked with ``@pytest.mark.equation(9)``.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THEORY = ROOT / "docs" / "theory.md"
BEGIN, END = "<!-- equations: written by tools/equation_table.py -->", "<!-- end of equations -->"


def functions(text: str) -> dict[str, list[str]]:
    """Equation → names in its line "Computed by", in the order of the document."""
    parts = re.split(r"\\tag\{\\?(\w+)\}", text)
    found = {}
    for name, after in zip(parts[1::2], parts[2::2], strict=True):
        line = re.search(r"^\*Computed by\* (.*)$", after, flags=re.MULTILINE)
        found[name] = re.findall(r"`((?:rt|rmtrnn)\.[\w.]+)`", line[1]) if line else []
    return found


def marked_tests(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Equation → file → names of the tests that are marked with it; the files are read, not imported."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _marks(node) if isinstance(node, ast.FunctionDef) else ():
                file = path.relative_to(folder.parent).as_posix()
                found.setdefault(name, {}).setdefault(file, []).append(node.name)
    return found


def _marks(node: ast.FunctionDef) -> list[str]:
    """Arguments of the decorators ``pytest.mark.equation(...)``."""
    calls = [item for item in node.decorator_list if isinstance(item, ast.Call)]
    chosen = [call for call in calls if ast.unparse(call.func) == "pytest.mark.equation"]
    return [str(ast.literal_eval(argument)) for call in chosen for argument in call.args]


def table(text: str, tests: dict[str, dict[str, list[str]]]) -> str:
    """The Markdown between the two marker comments."""
    lines = ["| equation | computed by | checked by |", "|---|---|---|"]
    for name, names in functions(text).items():
        shown = {"Psi": "Ψ"}.get(name, name)
        code = ", ".join(f"`{each}`" for each in names)
        files = ", ".join(f"`{file}` ({len(found)})" for file, found in tests.get(name, {}).items())
        lines.append(f"| ({shown}) | {code} | {files} |")
    return "\n".join(lines)


def written(text: str, tests: dict[str, dict[str, list[str]]]) -> str:
    """The document with its table up to date."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"docs/theory.md has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table(text, tests)}\n\n{END}{after}"


def main() -> int:
    """Write or check the table; the exit status is 1 if it is out of date."""
    parser = argparse.ArgumentParser(description="Write the table of section 6 of docs/theory.md.")
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    text = THEORY.read_text(encoding="utf-8")
    new = written(text, marked_tests(ROOT / "tests"))
    if check:
        return int(new != text)
    THEORY.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
