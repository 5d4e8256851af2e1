"""--reload: the address stays, nobody is refused, and no process is left behind."""

import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from gate import Gate
from http_client import Client, request

pytest.importorskip("watchfiles")

PATIENCE = float(os.environ.get("ZOLAL_TEST_PATIENCE", "20"))

APP = """
import os

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"{text}"]
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    write(folder, "one")
    return folder


def write(folder, text, name="site_app.py"):
    """As an editor does: what reads it has the old file, or the new one."""
    put(folder / name, APP.format(text=text))


def put(path, text):
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(path.name + "~")
    new.write_text(textwrap.dedent(text))
    new.rename(path)


@pytest.fixture
def reloaded(serve, folder):
    """reloaded(*arguments): a server of `folder` that reloads."""

    def start(*arguments, target="site_app", env=None):
        return serve(target, "--reload", "--app-dir", str(folder), *arguments, env=env)

    return start


def get(server, target="/"):
    with Client(server.address) as client:
        return client.get(target).body.decode()


def wait_for(server, text, target="/"):
    """Until it answers so; before, it may answer as it did."""
    server.wait_until(lambda: get(server, target) == text, f"it did not answer {text!r}")


def children(pid):
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def is_alive(pid):
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def the_child(server):
    return server.wait_until(lambda: children(server.pid), "there is no child")[0]


def wait_for_end(server, pid):
    server.wait_until(lambda: not is_alive(pid), f"process {pid} is still there")


def test_a_change_is_served_at_the_same_address(reloaded, folder):
    server = reloaded()
    assert get(server) == "one"
    first = the_child(server)
    write(folder, "two")
    wait_for(server, "two")
    assert the_child(server) != first
    assert not is_alive(first)
    assert "site_app.py changed: reloads" in server.stderr()
    assert len(re.findall("serves site_app on", server.stderr())) == 1
    assert "development" in server.stderr() and "Ctrl-C" in server.stderr()


@pytest.mark.parametrize("way", ["in place", "rename away first", "touch of a module in a package"])
def test_ways_to_save(reloaded, folder, way):
    put(folder / "package/__init__.py", "text = 'one'")
    put(folder / "site_app.py", APP.format(text="x").replace('b"x"', "text.encode()"))
    path = folder / "package/__init__.py"
    with open(folder / "site_app.py", "a") as file:
        file.write("\nfrom package import text\n")
    server = reloaded()
    assert get(server) == "one"
    if way == "in place":
        path.write_text("text = 'two'")
    elif way == "rename away first":
        path.rename(folder / "package/__init__.py~")
        path.write_text("text = 'two'")
    else:
        (folder / "package/more.py").write_text("")
        path.write_text("text = 'two'")
    wait_for(server, "two")


def test_changes_of_the_same_second_and_size(reloaded, folder):
    """Which Python's cache of compiled files does not tell apart."""
    server = reloaded()
    for text in ("two", "thr", "fou", "fiv"):
        write(folder, text)
        wait_for(server, text)


def test_a_change_during_the_start_is_not_missed(reloaded, folder):
    """The child waits within its import, having read its file already."""
    with Gate() as gate:
        put(
            folder / "site_app.py",
            f"import gates\ngates.stop({gate.path!r})\n" + APP.format(text="old"),
        )
        server = reloaded()
        gate.arrival()
        write(folder, "two")
        wait_for(server, "two")


def test_a_second_change_while_it_restarts(reloaded, folder):
    """Made while a request holds the old server up."""
    with Gate() as gate:
        put(
            folder / "site_app.py",
            "import gates\n"
            + APP.format(text="one").replace(
                "    return", f"    gates.stop({gate.path!r})\n    return"
            ),
        )
        server = reloaded()
        with Client(server.address) as client:
            client.send(request("/"))
            gate.arrival()
            write(folder, "two")
            server.wait_until(lambda: "reloads" in server.stderr(), "the change was not seen")
            write(folder, "three")
            wait_for(server, "three")
            client.expect_end()


def test_a_request_gets_a_moment_to_finish(reloaded, folder):
    with Gate() as gate:
        put(
            folder / "site_app.py",
            "import gates\n"
            + APP.format(text="one").replace(
                "    return", f"    gates.stop({gate.path!r})\n    return"
            ),
        )
        server = reloaded()
        with Client(server.address) as client:
            client.send(request("/"))
            gate.arrival()
            write(folder, "two")
            server.wait_until(lambda: "reloads" in server.stderr(), "the change was not seen")
            gate.open()
            assert client.response().body == b"one"
        wait_for(server, "two")


@pytest.mark.parametrize("family", ["TCP", "UNIX"])
def test_nobody_is_refused_or_lost(launch, folder, tmp_path, family):
    """Clients that come all the time see one answer after the other."""
    bind = "127.0.0.1:0" if family == "TCP" else f"unix:{tmp_path}/s"
    server = launch("site_app", "--reload", "--app-dir", str(folder), "--bind", bind)
    texts = ["two", "three", "four", "five", "six"]
    try:
        server.wait_for_start()
        visit_while_it_reloads(server, folder, texts)
    finally:
        server.kill()


def visit_while_it_reloads(server, folder, texts):
    failures, answers, over = [], {get(server)}, threading.Event()

    def visit():
        while not over.is_set():
            try:
                answers.add(get(server))
            except BaseException as error:
                failures.append(repr(error))

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        for text in texts:
            write(folder, text)
            server.wait_until(lambda text=text: text in answers, f"{text} was not served")
    finally:
        over.set()
        for visitor in visitors:
            visitor.join(PATIENCE)
    assert failures == []
    assert answers == {"one", *texts}


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        ("def application(:\n", ["SyntaxError", "def application(:"]),
        ("def f():\n    return 1 / 0\n\n\nf()\n", ["ZeroDivisionError", "in f", "line 5"]),
        ("import sys\nsys.exit(7)\n", ["SystemExit: 7"]),
        ("import not_there_at_all\n", ["ModuleNotFoundError", "not_there_at_all"]),
    ],
)
@pytest.mark.parametrize("when", ["at first", "later"])
def test_a_module_that_fails_is_waited_for(reloaded, folder, broken, shown, when):
    if when == "at first":
        put(folder / "site_app.py", broken)
    server = reloaded()
    if when == "later":
        assert get(server) == "one"
        put(folder / "site_app.py", broken)
    server.wait_until(lambda: "waits for a change" in server.stderr(), "it does not wait")
    for text in ("Traceback" if "Syntax" not in shown[0] else "File", *shown):
        assert text in server.stderr()
    assert "/zolal/" not in server.stderr()
    with Client(server.address) as client:
        client.send(request("/"))  # this one waits
        write(folder, "two")
        assert client.response().body == b"two"


def test_what_is_named_wrongly_is_not_waited_for(launch, folder):
    server = launch("site_ap", "--reload", "--app-dir", str(folder), "-b", "127.0.0.1:0")
    try:
        assert server.process.wait(PATIENCE) == 4
        assert "did you mean site_app?" in server.stderr()
    finally:
        server.kill()


def test_a_module_that_is_gone_for_a_while(reloaded, folder):
    server = reloaded()
    assert get(server) == "one"
    (folder / "site_app.py").unlink()
    server.wait_until(lambda: "waits for a change" in server.stderr(), "it does not wait")
    write(folder, "two")
    wait_for(server, "two")


def test_a_server_that_crashes_is_waited_for(reloaded, folder):
    server = reloaded()
    os.kill(the_child(server), signal.SIGSEGV)
    server.wait_until(lambda: "ended by SIGSEGV" in server.stderr(), "it was not noticed")
    write(folder, "two")
    wait_for(server, "two")


def test_modules_elsewhere_are_watched(reloaded, folder, tmp_path):
    library = tmp_path / "library"
    put(library / "far.py", "text = 'one'")
    put(
        folder / "site_app.py", "from far import text\n" + APP.replace('b"{text}"', "text.encode()")
    )
    path = os.pathsep.join([str(library), os.environ.get("PYTHONPATH", "")])
    server = reloaded(env={"PYTHONPATH": path})
    assert get(server) == "one"
    put(library / "far.py", "text = 'two'")
    wait_for(server, "two")


def test_modules_that_are_imported_late_are_watched(reloaded, folder, tmp_path):
    library = tmp_path / "library"
    put(library / "far.py", "text = 'one'")
    late = APP.replace('b"{text}"', "__import__('far').text.encode()")
    put(folder / "site_app.py", late)
    path = os.pathsep.join([str(library), os.environ.get("PYTHONPATH", "")])
    server = reloaded(env={"PYTHONPATH": path})
    assert get(server) == "one"
    put(library / "far.py", "text = 'two'")
    wait_for(server, "two")


@pytest.mark.parametrize("extra", ["settings.toml", "*.toml", "{outside}/a.toml", "{outside}"])
def test_other_files(reloaded, folder, tmp_path, extra):
    outside = tmp_path / "outside"
    place = outside / "a.toml" if "outside" in extra else folder / "settings.toml"
    put(place, "one")
    reading = f"open({str(place)!r}, 'rb').read()"
    put(folder / "site_app.py", f"text = {reading}\n" + APP.replace('b"{text}"', "text"))
    server = reloaded("--reload-extra", extra.format(outside=outside))
    assert get(server) == "one"
    put(place, "two")
    wait_for(server, "two")


def test_what_does_not_matter(reloaded, folder):
    (folder / "node_modules").mkdir()
    server = reloaded()
    assert get(server) == "one"
    first = the_child(server)
    for name in (
        "notes.txt",
        "node_modules/x.py",
        ".hidden.py",
        ".#site_app.py",
        "site_app.py.swp",
    ):
        put(folder / name, "x")
    write(folder, "two")
    wait_for(server, "two")
    assert re.findall("zolal: (.*) changed", server.stderr()) == ["site_app.py"]
    assert not is_alive(first)


def test_sighup_reloads(reloaded, folder):
    server = reloaded()
    assert get(server) == "one"
    first = the_child(server)
    os.kill(server.pid, signal.SIGHUP)
    wait_for_end(server, first)
    assert get(server) == "one"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_both(reloaded, number):
    server = reloaded()
    get(server)
    child = the_child(server)
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0, server.stderr()
    assert not is_alive(child)
    assert "Traceback" not in server.stderr()


def test_ctrl_c_goes_to_both(launch_command, folder):
    """A terminal sends it to the whole group."""
    command = [sys.executable, "-c", "import os; os.setsid(); from zolal.cli import main; main()"]
    command += ["site_app", "--reload", "--app-dir", str(folder), "-b", "127.0.0.1:0"]
    server = launch_command(command)
    try:
        server.wait_for_start()
        get(server)
        child = the_child(server)
        # The child has left the group that it made for itself, so both are told.
        for pid in (server.pid, child):
            os.kill(pid, signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0, server.stderr()
        wait_for_end(server, child)
        assert "Traceback" not in server.stderr()
    finally:
        server.kill()


def test_a_terminal_that_is_closed_ends_both(folder):
    """It sends SIGHUP, which would be a wish to reload otherwise."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(
            sys.executable,
            [sys.executable, "-m", "zolal", "site_app", "--reload", "--bind", "127.0.0.1:0"],
        )
    said, found = "", None
    try:
        while not found:
            assert select.select([terminal], [], [], PATIENCE)[0], said
            said += os.read(terminal, 10000).decode(errors="replace")
            found = re.search(r"on http://127\.0\.0\.1:(\d+)", said)
        with Client(("127.0.0.1", int(found[1]))) as client:
            assert client.get("/").body == b"one"
        (child,) = children(pid)
        os.close(terminal)
        for _ in range(int(PATIENCE * 100)):
            if not is_alive(child) and not is_alive(pid):
                break
            time.sleep(0.01)
        assert not is_alive(child) and not is_alive(pid)
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_without_a_standard_input(launch_command, folder):
    command = ["sh", "-c", 'exec "$0" "$@" <&-', sys.executable, "-m", "zolal", "site_app"]
    server = launch_command([*command, "--reload", "--app-dir", str(folder), "-b", "127.0.0.1:0"])
    try:
        server.wait_for_start()
        assert get(server) == "one"
        write(folder, "two")
        wait_for(server, "two")
        server.stop()
    finally:
        server.kill()


STUCK = {
    "in a request": "def stop():\n    print('here', flush=True)\n    import time\n"
    "    time.sleep(1000)\n" + APP.replace("    return", "    stop()\n    return"),
    "in its import": "import time\nprint('here', flush=True)\ntime.sleep(1000)\n",
    "in a thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=[1000]).start()\n" + APP,
}


@pytest.mark.parametrize("where", STUCK)
@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, "reload"])
def test_no_orphan_however_the_parent_ends(reloaded, folder, where, threads, end, tmp_path):
    put(folder / "site_app.py", STUCK[where])
    server = reloaded("--threads", threads, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    child = the_child(server)
    with Client(server.address) as client:
        if where == "in a request":
            client.send(request("/"))
        if where == "in a thread":
            client.get("/")
        else:
            server.wait_until(lambda: "here" in server.stdout(), "it is not there")
        if end == "reload":
            write(folder, "two")
            wait_for_end(server, child)
            wait_for(server, "two")
            return
        server.process.send_signal(end)
        expected = 0 if end == signal.SIGTERM else -end
        assert server.process.wait(PATIENCE) == expected, server.stderr()
    for _ in range(int(PATIENCE * 100)):
        if not is_alive(child):
            break
        time.sleep(0.01)
    assert not is_alive(child)
    assert list(tmp_path.glob("zolal-*.trace")) == []


def test_a_unix_socket_stays(reloaded, folder, tmp_path, launch):
    path = str(tmp_path / "s")
    command = ["site_app", "--reload", "--app-dir", str(folder), "--bind", f"unix:{path}"]
    server = launch(*command)
    try:
        server.wait_for_start()
        assert get(server) == "one"
        write(folder, "two")
        wait_for(server, "two")
        assert os.path.exists(path)
        server.stop()
        assert not os.path.exists(path)
    finally:
        server.kill()


def test_a_port_in_use_and_a_wrong_limit_are_told_at_once(launch, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, status, text in (
            (["-b", f"127.0.0.1:{port}"], 3, "Address already in use"),
            (["-b", "127.0.0.1:0", "--limit-request-line", "0"], 2, "out of range"),
        ):
            server = launch("site_app", "--reload", "--app-dir", str(folder), *arguments)
            try:
                assert server.process.wait(PATIENCE) == status
                assert text in server.stderr()
            finally:
                server.kill()


def test_without_watchfiles_it_says_what_to_install(launch, folder):
    put(folder / "hide/watchfiles.py", "raise ImportError('hidden')\n")
    path = os.pathsep.join([str(folder / "hide"), os.environ.get("PYTHONPATH", "")])
    arguments = ["site_app", "--reload", "--app-dir", str(folder), "-b", "127.0.0.1:0"]
    server = launch(*arguments, env={"PYTHONPATH": path})
    try:
        assert server.process.wait(PATIENCE) == 3
        assert "pip install 'zolal[reload]'" in server.stderr()
    finally:
        server.kill()


def test_reload_extra_alone_is_a_mistake(launch):
    server = launch("x", "--reload-extra", "y")
    try:
        assert server.process.wait(PATIENCE) == 2
        assert "--reload-extra needs --reload" in server.stderr()
    finally:
        server.kill()


def test_the_plain_command_imports_none_of_this(folder):
    script = "import sys, json; sys.argv = ['zolal', '--version']\nfrom zolal import cli\n"
    script += "try:\n    cli.main()\nexcept SystemExit:\n    print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import site; site.main()\n" + script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    assert "zolal.cli" in modules
    for name in ("zolal.reload", "zolal.development", "zolal.flask", "logging", "socket"):
        assert name not in modules
