"""Code blocks of the documents, and how a test runs them."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^```(?P<language>\w+)(?P<options>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w])")


class Block(NamedTuple):
    """``output``: the text block that follows at once, or None."""

    language: str
    options: tuple[str, ...]
    text: str
    line: int
    output: str | None

    @property
    def missing(self) -> str | None:
        """The package that the block needs and that is not installed."""
        needs = [option.removeprefix("needs=") for option in self.options if option.startswith("needs=")]
        return next((name for name in needs if importlib.util.find_spec(name) is None), None)


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a Markdown file in order."""
    text = path.read_text(encoding="utf-8")
    matches = list(_FENCE.finditer(text))
    found = []
    for i, match in enumerate(matches):
        after = matches[i + 1] if i + 1 < len(matches) else None
        shown = (
            after is not None
            and after["language"] == "text"
            and not text[match.end() : after.start()].strip()
        )
        line = text.count("\n", 0, match.start()) + 1
        output = after["text"] if after is not None and shown else None
        found.append(Block(match["language"], tuple(match["options"].split()), match["text"], line, output))
    return found


def execute(block: Block, path: Path, names: dict[str, Any]) -> str:
    """Run a block in ``names``; return what it printed. Errors point into the document."""
    tree = ast.parse("\n" * block.line + block.text, filename=str(path))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, str(path), "exec"), names)
    return printed.getvalue()


def same(shown: str, printed: str) -> bool:
    """Whether the words are the same, and the numbers to the digits that the document shows, or 1 %."""
    words = [
        _NUMBER.sub("#", text.translate(str.maketrans("", "", "[](),"))).split() for text in (shown, printed)
    ]
    numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (shown, printed)]
    return words[0] == words[1] and all(
        math.isclose(a, b, rel_tol=1e-2, abs_tol=1e-12) for a, b in zip(*numbers, strict=True)
    )
