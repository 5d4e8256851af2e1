"""An error message prints what the application gave, which runs the application's code: what that
lets go of is still held by the server."""

import os

import pytest
from http_client import Client

# What is freed is overwritten, so that nothing works by chance.
DEBUG = {"PYTHONMALLOC": os.environ.get("PYTHONMALLOC", "debug")}


@pytest.mark.parametrize(
    "target, message",
    [
        ("/header-let-go-of-where-it-is-printed", "not slice(printed, held, None)\n"),
        ("/environ-cleared-where-it-is-printed", "zolal: printed held: the application failed\n"),
    ],
)
def test_what_is_let_go_of_where_it_is_printed(serve, target, message):
    server = serve("strange_app:application", env=DEBUG)
    with Client(server.address) as client:
        assert client.get(target).status == 500
    with Client(server.address) as client:
        assert client.get("/plain").body == b"plain"
    assert message in server.stderr()
