"""The command: what it says, what it refuses, and how it ends."""

import ctypes
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest
from gate import Gate
from http_client import Client, request

LOG_LINE = re.compile(
    r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
    r'"GET /hello\?a=b HTTP/1\.1" 200 \d+ '
    r'"http://from/" "a \\x22browser\\x22"'
)


def run(*arguments, cwd, **keywords):
    """A command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "zolal", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        **keywords,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with modules of an application."""
    (tmp_path / "site_app.py").write_text(
        "def application(environ, start_response):\n"
        '    start_response("200 OK", [])\n'
        "    return [b'site']\n\n\n"
        "def create(greeting, *, loud=False):\n"
        "    def made(environ, start_response):\n"
        '        start_response("200 OK", [])\n'
        "        return [(greeting.upper() if loud else greeting).encode()]\n\n"
        "    return made\n\n\n"
        "number = 5\n"
    )
    (tmp_path / "broken_app.py").write_text("def f():\n    return 1 / 0\n\n\nf()\n")
    (tmp_path / "needs_app.py").write_text("import not_installed_anywhere\n")
    return tmp_path


def test_version(tmp_path):
    done = run("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"zolal \d+\.\d+\.\d+\n", done.stdout)


def test_help_has_examples_and_every_default(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for text in ("Examples:", "zolal mysite.wsgi", "--bind", "unix:PATH", "Exit status", "8190"):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "texts"),
    [
        ([], 2, ["which application?", "MODULE:ATTRIBUTE"]),
        (["site_app", "--nonsense"], 2, ["--nonsense"]),
        (["site_app", "--threads", "0"], 2, ["--threads", "0 is not in the range"]),
        (["site_app", "--workers", "2"], 2, ["--workers 2"]),
        (["site_app", "--xray", "--no-recorder"], 2, ["--xray needs the recorder"]),
        (["site_app", "--limit-request-line", "0"], 2, ["request_line", "out of range"]),
        (["site_app", "--backlog", "0"], 2, ["--backlog"]),
        (["site_app", "--backlog", "99999999999"], 2, ["--backlog", "99999999999"]),
        (["site_app", "--keep-alive", "inf"], 2, ["--keep-alive", "inf is not a number", "is 0"]),
        (["site_app", "--keep-alive", "nan"], 2, ["--keep-alive", "nan is not a number"]),
        (["site_app", "--keep-alive", "-1"], 2, ["--keep-alive", "-1"]),
        (["site_app", "--keep-alive", "1e300"], 2, ["keep_alive", "out of range"]),
        (["site_app", "--limit-request-body", "9" * 30], 2, ["request_body", "out of range"]),
        (["site_app", "-b", "127.0.0.1"], 3, ["has no port", "host:port"]),
        (["site_app", "-b", "127.0.0.1:x"], 3, ["0 to 65535"]),
        (["site_app", "-b", "127.0.0.1:65536"], 3, ["0 to 65535"]),
        (["site_app", "-b", "::1:80"], 3, ["in brackets"]),
        (["site_app", "-b", "unix:"], 3, ["has no path"]),
        (["site_app", "-b", "unix:" + "x" * 200], 3, ["at most 107 bytes", "has 200"]),
        (["site_app", "-b", "unix:/no/such/folder/s"], 3, ["No such file or directory"]),
        (["site_app", "-b", "192.0.2.1:0"], 3, ["192.0.2.1:0"]),
        (["site_app", "--app-dir", "/no/such"], 3, ["/no/such", "No such file"]),
        (["site_app", "--access-logfile", "/no/such/log"], 3, ["/no/such/log"]),
        (["site_ap"], 4, ["no module 'site_ap'", "did you mean site_app"]),
        (["no.such.package"], 4, ["no module 'no'"]),
        (["site_app:aplication"], 4, ["no attribute 'aplication'", "did you mean application?"]),
        (["site_app:number"], 4, ["not callable", "int"]),
        (["site_app:create(1 +)"], 4, ["neither an attribute nor a call"]),
        (["site_app:create(open('x'))"], 4, ["neither an attribute nor a call"]),
        (["site_app:create()"], 4, ["TypeError", "greeting"]),
        (["needs_app"], 4, ["not_installed_anywhere", "needs_app.py"]),
        (["broken_app"], 4, ["ZeroDivisionError", 'broken_app.py", line 2', "cannot be imported"]),
        ([":app"], 4, ["names no module"]),
    ],
)
def test_a_mistake_is_answered(folder, arguments, status, texts):
    bound = [] if "-b" in arguments or not arguments else ["-b", "127.0.0.1:0"]
    done = run(*arguments, *bound, cwd=folder)
    assert done.returncode == status, done.stderr
    for text in texts:
        assert text in done.stderr
    own_frames = [line for line in done.stderr.splitlines() if "/zolal/" in line and "File" in line]
    assert own_frames == []
    assert status == 4 or "Traceback" not in done.stderr


def test_the_shortest_time_is_not_for_ever(serve):
    server = serve("xray_app:application", "--keep-alive", "0.0004")
    with Client(server.address) as client:
        client.get("/")
        client.expect_orderly_end()


def test_a_port_in_use_names_who_has_it(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("site_app", "-b", f"127.0.0.1:{port}", cwd=folder)
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert f"by process {os.getpid()}" in done.stderr


def drop_low_ports():
    """In the child: no CAP_NET_BIND_SERVICE any more, prctl(2) PR_CAPBSET_DROP."""
    ctypes.CDLL(None).prctl(24, 10, 0, 0, 0)


def test_a_privileged_port_says_what_to_do(folder):
    low = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if low <= 1:
        pytest.skip("this machine lets anybody have any port")
    done = run("site_app", "-b", "127.0.0.1:1", cwd=folder, preexec_fn=drop_low_ports)
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stderr and "below 1024" in done.stderr


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("site_app", b"site"),
        ("site_app:application", b"site"),
        ("site_app:create('hey')", b"hey"),
        ("site_app:create('hey', loud=True)", b"HEY"),
    ],
)
def test_ways_to_name_an_application(folder, serve, target, body):
    server = serve(target, "--app-dir", str(folder))
    with Client(server.address) as client:
        assert client.get("/").body == body


def test_several_listeners(serve, tmp_path):
    binds = ["127.0.0.1:0", f"unix:{tmp_path}/s", "unix:@zolal-test-" + str(os.getpid())]
    server = serve("xray_app:application", bind=binds)
    for address in server.addresses:
        with Client(address) as client:
            assert client.get("/").body == b"hello"
    server.stop()
    assert not os.path.exists(tmp_path / "s")


def test_a_socket_file_that_nobody_serves_is_replaced(serve, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(path)
    server = serve("xray_app:application", bind=f"unix:{path}")
    with Client(path) as client:
        assert client.get("/").body == b"hello"
    server.stop()


def test_the_access_log(serve, tmp_path):
    log = tmp_path / "log"
    server = serve("xray_app:application", "--access-logfile", str(log))
    with Client(server.address) as client:
        client.get("/hello?a=b", "Referer: http://from/", 'User-Agent: a "browser"')
    server.stop()
    (line,) = log.read_text().splitlines()
    assert LOG_LINE.fullmatch(line), line


def test_the_access_log_has_what_was_refused(serve, tmp_path):
    log = tmp_path / "log"
    server = serve(
        "xray_app:application", "--access-logfile", str(log), "--limit-request-body", "3"
    )
    for data, status in (
        (b"GET /\x1b[31m HTTP/1.1\r\n\r\n", 400),
        (request("/up", "Content-Length: 4", "User-Agent: me", method="POST"), 413),
    ):
        with Client(server.address) as client:
            client.send(data)
            assert client.response().status == status
    server.stop()
    ends = [line.partition("] ")[2] for line in log.read_text().splitlines()]
    assert ends == [
        '"-" 400 25 "-" "-"',
        '"POST /up HTTP/1.1" 413 23 "-" "me"',
    ]


def test_the_access_log_on_standard_output(serve):
    server = serve("xray_app:application", "--access-logfile", "-")
    with Client(server.address) as client:
        client.get("/x")
        client.get("/y")
    server.stop()
    assert re.findall(r'"GET (/\w) HTTP/1.1" 200 5', server.stdout()) == ["/x", "/y"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish(serve, number):
    server = serve("response_app:application")
    with Gate() as gate, Client(server.address) as client:
        client.send(request(f"/gated?{gate.path}"))
        gate.arrival()
        server.process.send_signal(number)
        gate.open()
        gate.arrival()
        gate.open()
        assert client.response().status == 200
        client.expect_end()
    server.process.wait(20)
    assert server.process.returncode == 0


def test_a_second_signal_ends_it_at_once(serve):
    server = serve("response_app:application")
    with Gate() as gate, Client(server.address) as client:
        client.send(request(f"/gated?{gate.path}"))
        gate.arrival()
        server.process.send_signal(signal.SIGTERM)
        # The first has arrived when the handler has put the default action back.
        caught = f"/proc/{server.pid}/status"

        def is_default():
            mask = int(re.search(r"SigCgt:\s+(\w+)", open(caught).read()).group(1), 16)
            return not mask & 1 << (signal.SIGTERM - 1)

        server.wait_until(is_default, "the signal did not arrive")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == -signal.SIGTERM
    for left in (
        f"/dev/shm/zolal-{server.pid}.trace",
        f"{os.environ.get('XDG_RUNTIME_DIR', '')}/x",
    ):
        if os.path.exists(left):
            os.unlink(left)


def test_an_idle_connection_does_not_hold_up_the_end(serve):
    server = serve("xray_app:application")
    with Client(server.address) as client:
        client.get("/")
        server.stop()
        client.expect_end()


def test_the_recording_is_gone_after_an_orderly_end(serve, tmp_path):
    server = serve("xray_app:application", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    (recording,) = tmp_path.glob("zolal-*.trace")
    assert recording.stat().st_mode & 0o777 == 0o600
    server.stop()
    assert list(tmp_path.glob("zolal-*.trace")) == []


def test_a_stop_right_after_the_start_is_as_orderly(serve):
    for _ in range(10):
        serve("xray_app:application").stop()


WITHOUT_PIPES = """
import os, signal
from zolal import cli

class Printer:
    def close(self):
        print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

def pipe2(flags):
    raise OSError(24, "no more descriptors")

cli.start_xray = lambda path: Printer()
os.pipe2 = pipe2
cli.main()
"""


def test_a_start_that_fails_can_be_interrupted(launch_command):
    """Signals wait until the server has its handlers, or has failed without them."""
    arguments = ["xray_app:application", "--xray", "--bind=127.0.0.1:0"]
    server = launch_command([sys.executable, "-c", WITHOUT_PIPES, *arguments])
    try:
        assert server.process.wait(20) == 3
        assert server.stderr().endswith("zolal: no more descriptors\n")
        assert server.stdout() == "set()\n"
    finally:
        server.kill()


def test_without_a_recorder_there_is_no_recording(serve, tmp_path):
    server = serve("xray_app:application", "--no-recorder", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
    with Client(server.address) as client:
        assert client.get("/").body == b"hello"
