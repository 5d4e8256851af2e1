"""Applications under test on a real server: a pytest plugin, registered with the package.

    def test_hello(zolal_server):
        server = zolal_server(app)
        assert urllib.request.urlopen(server.url).read() == b"hello"

Each call starts an application on a free loopback port, in a thread of this process; it listens and
serves when the call returns, and is stopped at the test's end. One for many tests:

    from zolal.pytest_plugin import serving

    @pytest.fixture(scope="session")
    def server():
        with serving(create_app()) as server:
            yield server

PYTEST_DONT_REWRITE: there are no assertions of tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

# Nothing else is imported here: pytest loads this in every run of everybody who has zolal.
if TYPE_CHECKING:
    from zolal.server import Application, Server

GRACEFUL_MS = 5000
"""What a handler gets that still runs at the end of its test. It would be a user's 30 s."""


@contextmanager
def serving(app: Application, **options: Any) -> Iterator[Server]:
    """A zolal.Server that serves `app` in a thread, on a free port of 127.0.0.1 unless the options,
    which are zolal.Server's, say `bind`. It has `url`, `address` ("127.0.0.1:43210"), `port`."""
    from zolal.server import Server

    options.setdefault("bind", "127.0.0.1:0")
    options["limits"] = {"graceful_ms": GRACEFUL_MS, **(options.get("limits") or {})}
    with Server(app, **options) as server:
        yield server


@pytest.fixture
def zolal_server() -> Iterator[Callable[..., Server]]:
    """zolal_server(app, **options): the application on a zolal.Server, which is stopped at the end
    of the test. It has `url`, `address` and `port`. Options are those of zolal.Server."""
    with ExitStack() as servers:

        def serve(app: Application, **options: Any) -> Server:
            return servers.enter_context(serving(app, **options))

        yield serve
