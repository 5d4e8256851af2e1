"""The event loops that are compared, by name: "uvloop", "aiofastnet on asyncio"."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable

FACTORIES: dict[str, tuple[str, str]] = {
    "asyncio": ("asyncio", "SelectorEventLoop"),
    "uvloop": ("uvloop", "new_event_loop"),
    "rloop": ("rloop", "new_event_loop"),
    "zloop": ("zloop", "new_event_loop"),
    "zolal": ("zolal", "new_event_loop"),
}


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """SystemExit with a line that says why when it is not there."""
    lender, _, base = name.rpartition(" on ")
    if lender and lender != "aiofastnet":
        sys.exit(f"there is no loop {name}")
    try:
        module, factory = FACTORIES[base]
        make: Callable[[], asyncio.AbstractEventLoop] = getattr(
            importlib.import_module(module), factory
        )
        if lender:
            make = importlib.import_module(lender).loop_factory(make)
    except ModuleNotFoundError as reason:
        sys.exit(f"{reason.name} is not installed for Python {sys.version.split()[0]}")
    except AttributeError as reason:
        sys.exit(str(reason))
    except KeyError:
        sys.exit(f"there is no loop {name}")
    return make()
