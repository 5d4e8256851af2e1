"""--debug: Werkzeug's debugger, Flask's debug mode, a line for each request, and --reload."""

import os
import pty
import re
import select
import subprocess
import sys
import textwrap
import time
import urllib.parse

import pytest
from http_client import Client, request

pytest.importorskip("watchfiles")
pytest.importorskip("werkzeug")

PATIENCE = float(os.environ.get("ZOLAL_TEST_PATIENCE", "20"))

FLASK_APP = """
    import os
    import threading

    from flask import Flask

    app = Flask(__name__)

    @app.get("/")
    def index():
        return f"{app.debug} {os.environ['FLASK_DEBUG']} {threading.active_count() > 0}"

    @app.get("/boom/<int:number>")
    def boom(number):
        secret = number + 41
        return secret / 0
    """

PLAIN_APP = """
    def application(environ, start_response):
        found = environ["PATH_INFO"]
        if found == "/late":
            start_response("200 OK", [])
            yield b"begun"
        raise LookupError(found)
    """


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flask_site.py").write_text(textwrap.dedent(FLASK_APP))
    (folder / "plain_site.py").write_text(textwrap.dedent(PLAIN_APP))
    return folder


@pytest.fixture
def debugged(serve, folder):
    """debugged(target, *arguments): a server with --debug."""

    def start(target, *arguments, env=None):
        return serve(target, "--debug", "--app-dir", str(folder), *arguments, env=env)

    return start


class Console:
    """The debugger's, of the page that `target` answers with."""

    def __init__(self, client, target):
        self.client = client
        page = client.get(target)
        assert page.status == 500
        self.page = page.body.decode()
        self.secret = re.search(r'SECRET = "([^"]+)"', self.page)[1]
        self.frames = re.findall(r'id="frame-(\d+)"', self.page)
        self.cookie = ""

    def ask(self, **query):
        query = {"__debugger__": "yes", "s": self.secret, **query}
        fields = [f"Cookie: {self.cookie}"] if self.cookie else []
        return self.client.get("/?" + urllib.parse.urlencode(query), *fields)

    def give_pin(self, pin):
        answer = self.ask(cmd="pinauth", pin=pin)
        if answer.has("Set-Cookie"):
            self.cookie = answer.one("Set-Cookie").partition(";")[0]
        return answer.body

    def evaluate(self, text, frame=-1):
        return self.ask(cmd=text, frm=self.frames[frame])


def pin_of(server):
    return server.wait_until(
        lambda: re.search(r"Debugger PIN: ([\d-]+)", server.stderr()), "there is no PIN"
    )[1]


@pytest.mark.parametrize("reloading", [[], ["--no-reload"]])
@pytest.mark.parametrize("threads", ["1", "8"])
def test_the_console_of_a_frame_is_behind_the_pin(debugged, reloading, threads):
    server = debugged("flask_site", *reloading, "--threads", threads)
    pin = pin_of(server)
    with Client(server.address) as client:
        console = Console(client, "/boom/1")
        assert "ZeroDivisionError" in console.page
        assert "EVALEX = true" in console.page
        assert b"42" not in console.evaluate("secret").body
        assert console.give_pin(pin) == b'{"auth": true, "exhausted": false}'
        assert b"42" in console.evaluate("secret").body
        assert b"2" in console.evaluate("1+1").body
        # An assignment is there for the next one.
        console.evaluate("other = secret * 2")
        assert b"84" in console.evaluate("other").body
        resource = console.ask(cmd="resource", f="style.css")
        assert resource.status == 200 and resource.has("ETag")
    assert "ZeroDivisionError" in server.stderr()


def test_frames_of_many_threads(debugged):
    server = debugged("flask_site", "--threads", "8", env={"WERKZEUG_DEBUG_PIN": "off"})
    clients = [Client(server.address) for _ in range(8)]
    try:
        for number, client in enumerate(clients):
            client.send(request(f"/boom/{number}"))
        pages = [client.response().body.decode() for client in clients]
        for number, page in enumerate(pages):
            secret = re.search(r'SECRET = "([^"]+)"', page)[1]
            frame = re.findall(r'id="frame-(\d+)"', page)[-1]
            query = {"__debugger__": "yes", "cmd": "secret", "frm": frame, "s": secret}
            answer = clients[-1 - number].get("/?" + urllib.parse.urlencode(query))
            assert str(number + 41).encode() in answer.body
    finally:
        for client in clients:
            client.__exit__(None, None, None)


def test_another_host_gets_no_console(debugged):
    server = debugged("flask_site", env={"WERKZEUG_DEBUG_PIN": "off"})
    with Client(server.address) as client:
        client.send(request("/boom/1", host="evil.example"))
        page = client.response().body.decode()
    assert "EVALEX = false" in page


def test_flask_is_in_debug_mode(debugged, serve, folder):
    server = debugged("flask_site", env={"FLASK_DEBUG": "0"})
    with Client(server.address) as client:
        assert client.get("/").body.startswith(b"True 1")


def test_an_application_that_is_not_flask(debugged):
    server = debugged("plain_site", env={"WERKZEUG_DEBUG_PIN": "off"})
    with Client(server.address) as client:
        console = Console(client, "/here")
        assert b"/here" in console.evaluate("found").body
    with Client(server.address) as client:
        client.send(request("/late"))
        assert client.response().body == b"begun"
    server.wait_until(lambda: "LookupError: /late" in server.stderr(), "it was not told")


def test_the_address_and_the_pin_stay_over_a_reload(debugged, folder):
    server = debugged("flask_site")
    pin = pin_of(server)
    with Client(server.address) as client:
        assert client.get("/new").status == 404
    with open(folder / "flask_site.py", "a") as file:
        file.write("\n@app.get('/new')\ndef new():\n    return 'new'\n")

    def is_new():
        with Client(server.address) as client:
            return client.get("/new").status == 200

    server.wait_until(is_new, "it did not reload")
    assert set(re.findall(r"Debugger PIN: ([\d-]+)", server.stderr())) == {pin}


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        ("def f(:\n", "SyntaxError"),
        ("def f():\n    found = 42\n    return found / 0\n\n\nf()\n", "ZeroDivisionError"),
        ("import sys\n\nsys.exit(3)\n", "SystemExit"),
    ],
)
def test_what_fails_at_import_is_a_page(debugged, folder, broken, shown):
    (folder / "flask_site.py").write_text(broken)
    server = debugged("flask_site", env={"WERKZEUG_DEBUG_PIN": "off"})
    with Client(server.address) as client:
        for _ in range(3):
            console = Console(client, "/")
            assert shown in console.page
            frames = len(console.frames)
        assert frames == len(Console(client, "/").frames)
        if shown == "ZeroDivisionError":
            assert b"42" in console.evaluate("found").body
    assert shown in server.stderr()
    (folder / "flask_site.py").write_text(textwrap.dedent(FLASK_APP))

    def is_mended():
        with Client(server.address) as client:
            return client.get("/").status == 200

    server.wait_until(is_mended, "it did not reload")


def test_without_reload_what_fails_at_import_ends_it(launch, folder):
    (folder / "flask_site.py").write_text("1 / 0\n")
    arguments = ["flask_site", "--debug", "--no-reload", "--app-dir", str(folder)]
    server = launch(*arguments, "-b", "127.0.0.1:0")
    try:
        assert server.process.wait(PATIENCE) == 4
        assert "ZeroDivisionError" in server.stderr()
    finally:
        server.kill()


def test_without_werkzeug_it_says_what_to_install(launch, folder):
    script = "import sys; sys.modules['werkzeug'] = None; from zolal.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "plain_site", "--debug", "-b", "127.0.0.1:0"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "pip install werkzeug" in done.stderr


LINE = r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "(.*)" (\d+) -\n'


def test_a_line_for_each_request(debugged):
    server = debugged("flask_site", "--no-reload")
    with Client(server.address) as client:
        client.get("/")
        client.get("/caf%C3%A9%1b")
        client.send(b"GET /\x1b HTTP/1.1\r\n\r\n")
        assert client.response().status == 400
    server.stop()
    # Each thread writes its own: the last two may come the other way round.
    assert sorted(re.findall(LINE, server.stderr())) == [
        ("GET / HTTP/1.1", "200"),
        ("GET /\\x1b HTTP/1.1", "400"),
        ("GET /café\\x1b HTTP/1.1", "404"),
    ]
    assert re.search(r"\] code 400, message \w+", server.stderr())
    assert "\x1b" not in server.stderr()


def test_who_silences_werkzeugs_log_silences_this(debugged, folder):
    with open(folder / "flask_site.py", "a") as file:
        file.write("\nimport logging\nlogging.getLogger('werkzeug').setLevel(logging.ERROR)\n")
    server = debugged("flask_site", "--no-reload")
    with Client(server.address) as client:
        client.get("/")
    server.stop()
    assert re.findall(LINE, server.stderr()) == []


def test_an_access_log_takes_their_place(debugged, tmp_path):
    server = debugged("flask_site", "--access-logfile", str(tmp_path / "log"))
    with Client(server.address) as client:
        client.get("/")
    server.stop()
    assert re.findall(LINE, server.stderr()) == []
    assert '"GET / HTTP/1.1" 200' in (tmp_path / "log").read_text()


def test_colours_on_a_terminal(folder):
    """Read from a terminal of our own, and ended by its Ctrl-C."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.pop("NO_COLOR", None)
        command = ["-m", "zolal", "flask_site", "--debug", "--bind", "127.0.0.1:0"]
        os.execv(sys.executable, [sys.executable, *command])
    said = ""

    def read_until(pattern):
        nonlocal said
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, said)):
            assert time.monotonic() < deadline, said
            if select.select([terminal], [], [], 0.1)[0]:
                said += os.read(terminal, 10000).decode(errors="replace")
        return found

    try:
        port = read_until(r"on http://127\.0\.0\.1:(\d+)")[1]
        read_until("Debugger PIN")
        with Client(("127.0.0.1", int(port))) as client:
            client.get("/")
            client.get("/nowhere")
            client.get("/boom/1")
        read_until(r'\] "GET / HTTP/1.1" 200 -')
        read_until(r'\] "\x1b\[33mGET /nowhere HTTP/1.1\x1b\[0m" 404 -')
        read_until(r'\] "\x1b\[35m\x1b\[1mGET /boom/1 HTTP/1.1\x1b\[0m" 500 -')
        os.write(terminal, b"\x03")
        for _ in range(int(PATIENCE * 100)):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.01)
        assert ended and os.waitstatus_to_exitcode(status) == 0
        pid = 0
    finally:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        os.close(terminal)
    assert "Traceback" not in said.partition("\x03")[2]
