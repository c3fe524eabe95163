"""Hooks of MkDocs: equations, generated pages, links from names and from equation numbers."""

from __future__ import annotations

import importlib
import logging
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools.docsite import equations, generated, reference  # noqa: E402

log = logging.getLogger("mkdocs.hooks.rmtrnn")
_NAME = re.compile(r"(?<!</span>)<code>([A-Za-z_][\w.]*)(\([^<]*\))?</code>(?![^<]*</h\d)")
_EQUATION = re.compile(r"(?:docs/)?theory\.md((?: \(\d+\))(?:(?:, |–|-| and )\(\d+\))*)")
_NUMBER = re.compile(r"\((\d+)\)")

_links: dict[str, str] = {}  # name as written in a document → page#anchor
_found: dict[str, list[str]] = {}  # page → its equations


def on_files(files: Any, config: Any) -> Any:
    """Pages that are made here: the reference, and what lives elsewhere in the repository."""
    _links.clear()
    pages = reference.public()
    for name, entries in pages.items():
        home = f"reference/{name}.md"
        for item in entries:
            for each in (item, *item.members):
                _register(each, home)
        files.append(File.generated(config, home, content=generated.reference_page(name, entries)))
    for name, content in generated.documents().items():
        files.append(File.generated(config, name, content=content))
    for name, path in generated.pictures().items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def _register(item: reference.Entry, home: str) -> None:
    target = f"{home.removesuffix('.md')}.html#{reference.anchor(item)}"
    names = {f"{item.module}.{item.name}", item.name}
    if item.module == "rmtrnn" or item.module.split(".")[1] in (*reference.MODULES, "torch"):
        names.add(f"{item.module}.{item.name}".replace("rmtrnn.", "rt.", 1))
    for name in names:
        _links.setdefault(name, target)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Take the equations out before Markdown sees them."""
    if page.file.src_uri.startswith("reference/"):
        return markdown
    text, _found[page.file.src_uri] = equations.take(markdown)
    return text


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Put the equations back; link names to the reference and equation numbers to the theory."""
    if page.file.src_uri in _found:
        html = equations.put(html, _found[page.file.src_uri])

    def name(match: re.Match[str]) -> str:
        target = _links.get(match[1])
        if target is None:
            if match[1].startswith("rt.") and not _is_attribute(match[1]):
                log.warning("%s: `%s` is no public name", page.file.src_uri, match[1])
            return match[0]
        return f'<a class="name" href="{get_relative_url(target, page.url)}">{match[0]}</a>'

    def equation(match: re.Match[str]) -> str:
        def one(number: re.Match[str]) -> str:
            target = get_relative_url(f"theory.html#eq-{number[1]}", page.url)
            return f'<a href="{target}">({number[1]})</a>'

        return "theory" + _NUMBER.sub(one, match[1])

    return _EQUATION.sub(equation, _NAME.sub(name, html))


def _is_attribute(name: str) -> bool:
    value: Any = importlib.import_module("rmtrnn")
    for part in name.split(".")[1:]:
        value = getattr(value, part, None)
    return value is not None
