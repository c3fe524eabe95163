"""Equations of the documents: LaTeX between dollars becomes MathML: no script, no network."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

_CODE = re.compile(r"(^```.*?^```[^\S\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$]+?)(?<!\s)\$(?![\w$])")
_TAG = re.compile(r"\\tag\{(\d+|\\Psi)\}")
_TOKEN = re.compile(r"<p>EQUATION(\d+)Q</p>|EQUATION(\d+)Q")


def display(latex: str) -> str:
    """An equation with a number, or with the name \\Psi, has the anchor eq-NUMBER or eq-Psi."""
    numbers = _TAG.findall(latex)
    if len(numbers) > 1:
        raise ValueError(f"two numbers in one equation: {latex}")
    body = convert(_TAG.sub("", latex).strip().replace("{aligned}", "{align*}"), display="block")
    if not numbers:
        return f'<div class="equation">{body}</div>'
    number = numbers[0].removeprefix("\\")
    shown = {"Psi": "Ψ"}.get(number, number)
    link = f'<a class="number" href="#eq-{number}" aria-label="equation {shown}">({shown})</a>'
    return f'<div class="equation" id="eq-{number}">{body}{link}</div>'


def take(markdown: str) -> tuple[str, list[str]]:
    """The text with a token for each equation, and their MathML: Markdown must not look into these."""
    found: list[str] = []

    def token(markup: str) -> str:
        found.append(markup)
        return f"EQUATION{len(found) - 1}Q"

    def replace(text: str) -> str:
        text = _DISPLAY.sub(lambda match: token(display(match[1])), text)
        return _INLINE.sub(lambda match: token(convert(" ".join(match[1].split()))), text)

    parts = _CODE.split(markdown)  # odd ones are code
    return "".join(part if i % 2 else replace(part) for i, part in enumerate(parts)), found


def put(page: str, found: list[str]) -> str:
    """The HTML page with its equations."""
    page = _TOKEN.sub(lambda match: found[int(match[1] or match[2])], page)
    if "$" in re.sub(r"<(pre|code).*?</\1>", "", page, flags=re.DOTALL):
        raise ValueError("a dollar sign is left: an equation was not closed, or escape it as &#36;")
    return page
