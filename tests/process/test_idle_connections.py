"""Ten thousand connections that are kept open and idle."""

import resource

import pytest
from http_client import Client
from probe import descriptors, private_memory

COUNT = 10_000
SPARE = 100  # descriptors that either process needs for other things
MOST = 2048  # bytes of user memory for each


def raise_limit(pid):
    """Let the process have as many descriptors as it may. Returns how many."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@pytest.fixture
def own_limit():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        yield raise_limit(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def leave():
    """Clients that leave at the test's end with a reset: no port stays in TIME_WAIT."""
    clients = []
    yield clients
    for client in clients:
        client.reset()


def test_idle_connections(serve, own_limit, leave, record_property, capsys):
    server = serve("robust_app:application", "--keep-alive=0")
    count = min(COUNT, own_limit - SPARE, raise_limit(server.pid) - SPARE)
    with Client(server.address) as asking:
        # What any number of connections needs is there before it is measured.
        asking.get("/hello")
        for _ in range(50):
            leave.append(Client(server.address))
        for client in leave:
            assert client.get("/hello").body == b"hello"
        held = descriptors(server.pid)
        before = private_memory(server.pid)
        for _ in range(count):
            client = Client(server.address)
            leave.append(client)
            assert client.get("/hello", "User-Agent: idle/1", "Cookie: a=b").body == b"hello"
        each = (private_memory(server.pid) - before) / count
        assert descriptors(server.pid) == held + count
        record_property("idle_connections", count)
        record_property("bytes_each", round(each))
        with capsys.disabled():
            print(f"\n{count} idle connections: {each:.0f} bytes of user memory each")
        assert each < MOST, f"{each:.0f} bytes for each of {count} connections"
        # None of them was forgotten.
        for client in leave[:: max(1, count // 500)]:
            assert client.get("/hello").body == b"hello"
        assert asking.get("/hello").body == b"hello"
        while leave:
            leave.pop().reset()
        assert descriptors(server.pid, at_most=held) <= held
        assert asking.get("/hello").body == b"hello"
