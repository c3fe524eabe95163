"""What upper rooms register and lower rooms look up by name, so that no room imports one above it.

An entry may be missing because its room is not loaded yet: `Registry.homes` says which module registers it.
Only the lazy ``rmtrnn/__init__.py`` fills ``homes``.
"""

from __future__ import annotations

import importlib
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """A mapping from names to entries that its readers do not import."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.homes: dict[str, str] = {}

    def register(self, name: str, entry: Entry) -> None:
        """Enter ``entry``; RuntimeError if the name belongs to another one."""
        if self._entries.setdefault(name, entry) is not entry:
            raise RuntimeError(f"{name!r} is registered twice")

    def find(self, name: str) -> Entry:
        """Return the entry, its module loaded if necessary; KeyError where no room registers the name."""
        if name not in self._entries and name in self.homes:
            importlib.import_module(self.homes[name])
        return self._entries[name]


RESTORE: Registry[Any] = Registry()
"""Kind of a saved result → ``restore(meta, arrays)``; see `rmtrnn._core.storage`."""
KINDS: Registry[Any] = Registry()
"""Name of a class in a file → how it is stored and built; see `rmtrnn._core.records`."""
DRAW: Registry[Any] = Registry()
"""Kind of a result → ``plot(result, ax=None, **options)`` of `rmtrnn.plotting`."""
