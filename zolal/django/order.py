"""Whose `runserver` runs: the first app in INSTALLED_APPS that has one wins, and ours extends the
next one, so that what that one does (static files, say) is done on zolal, too."""

from __future__ import annotations

import importlib
import inspect
import os
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.management import find_commands

APP = "zolal.django"
COMMAND = "runserver"
CORE = "django.core"


def _has_command(config: Any) -> bool:
    return COMMAND in find_commands(os.path.join(config.path, "management"))


def apps_with_command() -> list[str]:
    """Those that have a `runserver`, the one that wins first; Django's own is the last."""
    return [config.name for config in apps.get_app_configs() if _has_command(config)] + [CORE]


def command_of(app: str) -> Any:
    """The command's class."""
    return importlib.import_module(f"{app}.management.commands.{COMMAND}").Command


def next_command() -> Any:
    """The one that ours extends."""
    names = apps_with_command()
    return command_of(names[names.index(APP) + 1] if APP in names else CORE)


def _calls_its_base(function: Any) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and {"super", function.__name__} <= {*code.co_names}


def _own_server(command: Any) -> type | None:
    """The class that has an inner_run(), the part that serves, which does not only add something
    to that of its base."""
    core = command_of(CORE)
    for cls in command.__mro__:
        if cls is core:
            break
        if "inner_run" in vars(cls) and not _calls_its_base(vars(cls)["inner_run"]):
            found: type = cls
            return found
    return None


def check_order(app_configs: Any, **kwargs: Any) -> list[Any]:
    names = apps_with_command()
    winner = command_of(names[0])
    if APP in names[1:] and not issubclass(winner, command_of(APP)):
        return [
            checks.Warning(
                f"runserver does not run on zolal: {names[0]!r} stands before {APP!r} in "
                "INSTALLED_APPS and has a runserver, too, and the first one wins.",
                hint=f"Move {APP!r} up, before {names[0]!r}: its runserver extends the next one, "
                "so that nothing of what that one does is lost.",
                id="zolal.W001",
            )
        ]
    own = _own_server(winner)
    if own is not None:
        app = own.__module__.partition(".management.")[0]
        return [
            checks.Warning(
                f"runserver does not run on zolal: the one of {app!r}, which is among "
                "INSTALLED_APPS, brings a server of its own.",
                hint=f"Take {app!r} out of INSTALLED_APPS to be served by zolal, or {APP!r} to be "
                "served by that.",
                id="zolal.W002",
            )
        ]
    return []
