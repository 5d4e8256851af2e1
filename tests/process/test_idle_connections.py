"""Ten thousand connections that are kept open: idle ones, and ones that drip."""

import resource

import pytest
from http_client import Client
from probe import cpu_seconds, descriptors, private_memory

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


DRIPPED = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: drip"


def test_dripping_connections(serve, own_limit, leave, record_property, capsys):
    """Clients that never finish their head cost memory for what they sent, and a byte costs what a
    wake-up costs. A good client beside them sees nothing of it."""
    server = serve("robust_app:application", "--header-timeout=0")
    count = min(COUNT, own_limit - SPARE, raise_limit(server.pid) - SPARE)
    drips = 4
    with Client(server.address) as asking:
        asking.get("/hello")
        before = private_memory(server.pid)
        for _ in range(count):
            client = Client(server.address)
            client.send(DRIPPED)
            leave.append(client)
        assert asking.get("/hello").body == b"hello"
        cpu = cpu_seconds(server.pid)
        for _ in range(drips):
            for client in leave:
                client.send(b"x")
            assert asking.get("/hello").body == b"hello"
        cpu = (cpu_seconds(server.pid) - cpu) / (drips * count)
        each = (private_memory(server.pid) - before) / count
        record_property("bytes_each", round(each))
        record_property("microseconds_a_byte", round(cpu * 1e6, 1))
        with capsys.disabled():
            print(
                f"\n{count} dripping connections: {each:.0f} bytes each, {cpu * 1e6:.1f} us a byte"
            )
        assert each < MOST, f"{each:.0f} bytes for each of {count} connections"
        # Their heads are whole in the end.
        for client in leave[:: max(1, count // 100)]:
            client.send(b"\r\n\r\n")
            assert client.response().status
        assert asking.get("/hello").body == b"hello"
