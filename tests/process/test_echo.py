"""zolal echo, over real sockets."""

import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from probe import cpu_seconds, descriptors, is_sanitized, private_memory
from running import PATIENCE

from zolal._zolal import Reader

CONNECTIONS = 10_000
SPARE = 100  # descriptors that either process needs for other things
KIB = 1024
ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get("ZOLAL_BUILD") or ROOT / "build/plain")
LINE = re.compile(r"[├└]── (\w+)\((.*)\) = (-?\d+(?: E\w+)?)  [\d.]+ (?:µs|ms|s)$")


@pytest.fixture
def echo(launch):
    """echo(*arguments, bind=["127.0.0.1:0"], env={}): a running server, which must end well at the
    end."""
    servers = []

    def echo(*arguments, bind=("127.0.0.1:0",), env=None):
        options = [option for one in bind for option in ("--bind", one)]
        servers.append(launch("echo", *options, *arguments, env=env))
        return servers[-1].wait_for_start()

    try:
        yield echo
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.kill()


def connect(address):
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    client.settimeout(PATIENCE)
    client.connect(address)
    return client


def receive(client, count):
    """So many bytes, or fewer at the end."""
    got = bytearray()
    while len(got) < count and (piece := client.recv(count - len(got))):
        got += piece
    return bytes(got)


def leave_with_a_reset(client):
    """No port stays in TIME_WAIT."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def ask(client, data=b"hello"):
    client.sendall(data)
    assert receive(client, len(data)) == data


def run(*arguments, cwd):
    command = [sys.executable, "-m", "zolal", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


def test_what_comes_goes_back_and_who_came_is_printed(echo):
    server = echo()
    with connect(server.address) as one, connect(server.address) as other:
        for client in (one, other, one):
            ask(client)
        names = [f"Connection from {client.getsockname()}" for client in (one, other)]
    assert server.stdout().splitlines() == names


def test_a_unix_socket_and_several_addresses(echo, tmp_path):
    path = f"{tmp_path}/s"
    server = echo(bind=["127.0.0.1:0", f"unix:{path}"])
    assert server.addresses[1] == path
    with connect(server.address) as one, connect(path) as other:
        ask(one)
        ask(other)
    with socket.socket(socket.AF_UNIX) as named:
        named.bind(f"{tmp_path}/client")
        named.connect(path)
        ask(named)
    assert server.stdout().splitlines()[1:] == [
        "Connection from ''",
        f"Connection from '{tmp_path}/client'",
    ]
    server.stop()
    assert not os.path.exists(path)


@pytest.mark.parametrize("size", [0, 5, 64 * KIB, 200 * KIB])
def test_a_half_close_gets_all_and_then_the_end(echo, size):
    data = os.urandom(size)
    with connect(echo().address) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, size + 1) == data


def test_urgent_data_hold_nothing_up(echo, tmp_path):
    server = echo(bind=["127.0.0.1:0", f"unix:{tmp_path}/s"])
    for address in server.addresses:
        with connect(address) as client:
            ask(client)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with server.paused():
                client.sendall(b"before")
                client.send(b"!", socket.MSG_OOB)
                client.sendall(b"after")
            assert receive(client, 11) == b"beforeafter"


def test_a_reset_is_quiet(echo):
    server = echo()
    with connect(server.address) as beside:
        for _ in range(20):
            client = connect(server.address)
            client.sendall(b"x" * KIB)
            leave_with_a_reset(client)
        ask(beside)
    assert len(server.stderr().splitlines()) == 1


def fill(client):
    """Send without reading until nothing more is taken for a while. Returns how much that was."""
    client.settimeout(0.3)
    count = 0
    with contextlib.suppress(TimeoutError):
        while True:
            count += client.send(b"%07d\n" % (count // 8) * KIB)
    client.settimeout(PATIENCE)
    return count


def test_clients_that_do_not_read_cost_one_buffer(echo, tmp_path):
    count = 20
    server = echo(bind=[f"unix:{tmp_path}/s"])
    with contextlib.ExitStack() as stack:
        beside = stack.enter_context(connect(server.address))
        ask(beside)
        before = private_memory(server.pid)
        clients = [stack.enter_context(connect(server.address)) for _ in range(count)]
        filled = [fill(client) for client in clients]
        ask(beside)
        if not is_sanitized(server.pid):
            assert private_memory(server.pid) - before < count * 64 * KIB + 512 * KIB
        begin = cpu_seconds(server.pid)
        time.sleep(0.5)
        assert cpu_seconds(server.pid) - begin < 0.1  # it does not spin
        for client, size in zip(clients, filled, strict=True):
            client.shutdown(socket.SHUT_WR)
            assert len(receive(client, size + 1)) == size


def test_ten_thousand_connections(echo, own_limit):
    server = echo()
    hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert hard[0] == hard[1]
    count = min(CONNECTIONS, own_limit - SPARE, hard[0] - SPARE)
    held = descriptors(server.pid)
    before = private_memory(server.pid)
    clients = []
    try:
        for number in range(count):
            clients.append(connect(server.address))
            clients[-1].sendall(b"%05d" % number)
        for number, client in enumerate(clients):
            assert receive(client, 5) == b"%05d" % number
        assert descriptors(server.pid) == held + count
        if not is_sanitized(server.pid):
            assert (private_memory(server.pid) - before) / count < 256
        for client in clients[::100]:
            ask(client)
    finally:
        for client in clients:
            leave_with_a_reset(client)
    assert descriptors(server.pid, at_most=held) == held
    assert len(server.stdout().splitlines()) == count


def test_when_no_descriptor_is_left(echo):
    server = echo()
    room = 10
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    limit = descriptors(server.pid) + room
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, hard))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(room + 5)]
        for client in clients:
            client.sendall(b"hello")
        for client in clients[:room]:
            assert receive(client, 5) == b"hello"
        server.wait_until(lambda: "cannot accept more" in server.stderr(), "it said nothing")
        begin = cpu_seconds(server.pid)
        time.sleep(1)
        assert cpu_seconds(server.pid) - begin < 0.2
        for client in clients[:5]:
            client.close()
        for client in clients[room:]:
            assert receive(client, 5) == b"hello"
    assert len(server.stderr().splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_connections(echo, number):
    server = echo()
    with connect(server.address) as client:
        ask(client)
        server.process.send_signal(number)
        assert client.recv(1) == b""
    assert server.process.wait(PATIENCE) == 0
    assert len(server.stderr().splitlines()) == 1


def test_a_standard_output_that_nobody_reads(echo, launch_command, tmp_path):
    script = f"exec {sys.executable} -m zolal echo -b 127.0.0.1:0 | true"
    server = launch_command(["sh", "-c", script]).wait_for_start()
    pid = int(re.search(r"pid (\d+)", server.stderr())[1])
    try:
        with connect(server.address) as one, connect(server.address) as other:
            ask(one)
            ask(other)
    finally:
        os.kill(pid, signal.SIGTERM)
    server.process.wait(PATIENCE)
    assert server.stderr().splitlines()[1:] == [
        "zolal: prints no connections any more: standard output: Broken pipe"
    ]


def test_a_port_in_use_names_who_has_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("echo", "-b", f"127.0.0.1:{port}", cwd=tmp_path)
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert f"by process {os.getpid()}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "texts"),
    [
        (["echo", "--nonsense"], 2, ["--nonsense", "zolal echo --help"]),
        (["echo", "app"], 2, ["app"]),
        (["echo", "-b", "127.0.0.1"], 3, ["has no port"]),
        (["echo", "--xray", "--no-recorder"], 2, ["--xray needs the recorder"]),
        (["--no-recorder", "echo"], 2, ["echo comes first: zolal echo", "echo:application"]),
        (["echo:application", "-b", "127.0.0.1:0"], 4, ["no module 'echo'"]),
    ],
)
def test_a_mistake_is_answered(tmp_path, arguments, status, texts):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    for text in texts:
        assert text in done.stderr
    assert "Traceback" not in done.stderr or status == 4


def test_help_has_examples(tmp_path):
    done = run("echo", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for text in ("Examples:", "zolal echo --xray", "127.0.0.1:9999", "unix:PATH", "Exit status"):
        assert text in done.stdout


def test_an_application_of_that_name(serve, tmp_path):
    (tmp_path / "echo.py").write_text(
        "def application(environ, start_response):\n"
        '    start_response("200 OK", [])\n'
        "    return [b'an application']\n"
    )
    server = serve("echo:application", "--app-dir", str(tmp_path))
    with connect(server.address) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert receive(client, 9999).endswith(b"an application")


def visit(server):
    """One client that says two things and half-closes behind the second. Its address."""
    with connect(server.address) as client:
        ask(client, b"one")
        client.sendall(b"three")
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 9) == b"three"
        return "{}:{}".format(*client.getsockname())


def groups(text):
    """What --xray has printed: (heading, [(call, arguments, result), ...]), in its order."""
    found = []
    for line in text.splitlines():
        if match := LINE.match(line):
            found[-1][1].append(match.groups())
        elif not line.startswith("Connection from"):
            found.append((line, []))
    return found


def calls_of(text, connection):
    """Those that stand under its headings."""
    wanted = re.compile(rf"connection {connection}\b")
    return [call for heading, found in groups(text) if wanted.match(heading) for call in found]


def test_xray_shows_each_call_under_its_connection(echo):
    server = echo("--xray")
    peers = [visit(server), visit(server)]
    ended = re.compile(r"^└── close\(", re.M)
    server.wait_until(lambda: len(ended.findall(server.stdout())) == 2, "no end is shown")
    server.stop()
    for number, peer in enumerate(peers, 1):
        assert f"connection {number}  {peer}" in server.stdout()
        found = calls_of(server.stdout(), number)
        fd = next(result for name, _, result in found if name == "accept4")
        shown = [call for call in found if call[0] != "epoll_wait"]
        assert shown[0][1].endswith(f", {peer}")
        assert shown[1][0] == "epoll_ctl" and f"EPOLL_CTL_ADD, {fd}" in shown[1][1]
        assert shown[2:] == [
            ("recvfrom", f"{fd}, 65536", "3"),
            ("sendto", f"{fd}, 3", "3"),
            ("recvfrom", f"{fd}, 65536", "5"),
            ("sendto", f"{fd}, 5", "5"),
            ("recvfrom", f"{fd}, 65536", "0"),
            ("shutdown", f"{fd}, SHUT_WR", "0"),
            ("close", fd, "0"),
        ]
    names = [name for heading, found in groups(server.stdout()) for name, _, _ in found]
    assert names[:3] == ["epoll_create1", "eventfd2", "epoll_ctl"]
    assert {"socket", "bind", "listen"} <= set(names)


def test_xray_shows_a_call_when_it_happens(echo):
    server = echo("--xray")
    with connect(server.address) as client:
        for count in (1, 2):
            ask(client)
            server.wait_until(
                lambda: len(re.findall(r"sendto\(\d+, 5\) = 5", server.stdout())) == count,  # noqa: B023
                "no such call",
            )


def test_the_recording_holds_each_call(echo, tmp_path):
    """It is on without --xray."""
    server = echo(env={"XDG_RUNTIME_DIR": str(tmp_path)})
    visit(server)

    def made():
        reader = Reader(f"{tmp_path}/zolal-{server.pid}.trace")
        found = [event.op for event in reader.read() if event.connection == 1]
        reader.close()
        return found if found and found[-1] == "close" else None

    assert server.wait_until(made, "no end was recorded") == [
        "accept4",
        "epoll_ctl",
        *["recvfrom", "sendto"] * 2,
        "recvfrom",
        "shutdown",
        "close",
    ]


def test_without_a_recorder(echo, tmp_path):
    server = echo("--no-recorder", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    visit(server)
    assert list(tmp_path.iterdir()) == []


def test_the_example_in_c():
    command = [BUILD / "examples/echo", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            host, port = process.stdout.readline().strip().split(":")
            with connect((host, int(port))) as client:
                ask(client)
                name = "{}:{}".format(*client.getsockname())
            assert process.stdout.readline() == f"Connection from {name}\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
