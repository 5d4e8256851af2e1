"""What runs any `runserver` of Django's kind on zolal: a mix-in, to be put before it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from zolal import __version__, preload
from zolal.basehttp import on_zolal
from zolal.django import sql
from zolal.tracing import traced


class _Terminated(KeyboardInterrupt):
    """SIGTERM has come. To the server it is what Ctrl-C is."""


def _end(number: int, frame: Any) -> None:
    raise _Terminated


if TYPE_CHECKING:
    from django.core.management.commands.runserver import Command as _Mixed
else:
    _Mixed = object


class RunOnZolal(_Mixed):  # type: ignore[misc]
    """`server_cls` of the command that it is put before is served by zolal; there is --xray, and
    one more line when it has begun."""

    server_cls: Any

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--xray",
            action="store_true",
            help="Print each request's journey: kernel calls, Python calls, SQL queries, and "
            "what each has cost.",
        )

    def execute(self, *args: Any, **options: Any) -> Any:
        if options.get("xray"):
            # The server asks the environment, also the one in the reloader's child.
            os.environ["ZOLAL_XRAY"] = "1"
            if sys.argv[1:2] == ["runserver"]:
                preload.restart()
        return super().execute(*args, **options)

    @traced
    def handle(self, *args: Any, **options: Any) -> Any:
        return super().handle(*args, **options)

    @traced
    def inner_run(self, *args: Any, **options: Any) -> Any:
        sql.watch_if_wanted()
        self.server_cls = on_zolal(self.server_cls)
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            signal.signal(signal.SIGTERM, _end)
        try:
            return super().inner_run(*args, **options)
        except SystemExit as end:
            if isinstance(end.__context__, _Terminated):
                # Nothing is left behind; the status is what a shell makes of the signal.
                raise SystemExit(128 + signal.SIGTERM) from None
            raise

    @traced
    def get_handler(self, *args: Any, **options: Any) -> Any:
        return super().get_handler(*args, **options)

    @traced
    def on_bind(self, server_port: Any) -> Any:
        result = super().on_bind(server_port)
        self.stdout.write(f"Served by zolal {__version__}.")
        return result

    @traced
    def check_migrations(self) -> Any:
        return super().check_migrations()
