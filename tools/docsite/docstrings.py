"""Docstrings as Markdown.

They are prose with double backticks, sections underlined with dashes, lists "name : text", indented equations
and doctests. Everything else is text, in which no character is meant as Markdown.
"""

from __future__ import annotations

import inspect
import re

_CODE = re.compile(r"``(.+?)``|`(.+?)`", re.DOTALL)
_SPECIAL = re.compile(r"([\\*_<>\[\]|#$])")
_ITEM = re.compile(r"^\**[A-Za-z_][\w.,:* ]* : ")


def convert(text: str) -> str:
    """A docstring, without its common indentation."""
    lines = inspect.cleandoc(text).splitlines()
    out: list[str] = []
    start = 0
    while start < len(lines):
        start, block = _block(lines, start)
        out += [*block, ""]
    return "\n".join(out).strip() + "\n"


def _block(lines: list[str], start: int) -> tuple[int, list[str]]:
    line = lines[start]
    following = lines[start + 1] if start + 1 < len(lines) else ""
    if not line.strip():
        return start + 1, []
    if re.fullmatch(r"-{3,}", following):
        return start + 2, [f"**{line}**"]
    if line.startswith(">>>"):
        end = _while(lines, start, lambda text: bool(text.strip()))
        return end, ["```pycon", *lines[start:end], "```"]
    if line.startswith("    "):
        end = _while(lines, start, lambda text: text.startswith("    ") or not text.strip())
        return end, ["```text", *inspect.cleandoc("\n".join(lines[start:end])).splitlines(), "```"]
    if _is_item(line, following):
        return _item(lines, start)
    end = _while(
        lines, start, lambda text: bool(text.strip()) and not text.startswith(("    ", ">>>")), least=1
    )
    end = next((i for i in range(start + 1, end) if _ITEM.match(lines[i])), end)
    return end, inline("\n".join(lines[start:end])).splitlines()


def _is_item(line: str, following: str) -> bool:
    names = re.fullmatch(r"\**[A-Za-z_]\w*(, \**[A-Za-z_]\w*)*", line)
    return bool(_ITEM.match(line) or (names and following.startswith("    ")))


def _item(lines: list[str], start: int) -> tuple[int, list[str]]:
    end = _while(lines, start + 1, lambda text: text.startswith("    "), least=0)
    names, _, rest = lines[start].partition(" : ")
    body = " ".join(line.strip() for line in lines[start + 1 : end])
    described = f": {inline(rest)}" if rest else ""
    term = ", ".join(f"`{name.strip()}`" for name in names.split(","))
    return end, [term + (described if body and rest else ""), "", f":   {inline(body or rest or '–')}"]


def _while(lines: list[str], start: int, holds, least: int = 1) -> int:
    end = start + least
    while end < len(lines) and holds(lines[end]):
        end += 1
    while end > start + least and not lines[end - 1].strip():
        end -= 1
    return end


def inline(text: str) -> str:
    """One paragraph: code stays code, the rest is escaped."""
    out, at = [], 0
    for match in _CODE.finditer(text):
        out.append(_SPECIAL.sub(r"\\\1", text[at : match.start()]))
        out.append("`" + " ".join((match[1] or match[2]).split()) + "`")
        at = match.end()
    return "".join([*out, _SPECIAL.sub(r"\\\1", text[at:])])
