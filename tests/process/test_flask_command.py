"""`flask zolal`, and zolal.flask.run(): as `flask run` and app.run() are used."""

import os
import re
import signal
import sys
import textwrap

import pytest
from http_client import Client
from running import SERVES, parse

pytest.importorskip("flask")
pytest.importorskip("watchfiles")

PATIENCE = float(os.environ.get("ZOLAL_TEST_PATIENCE", "20"))

HELLO = """
    import os

    import flask

    app = flask.Flask(__name__)

    @app.get("/")
    def index():
        return "one"

    @app.get("/state")
    def state():
        environ = flask.request.environ
        from werkzeug.serving import is_running_from_reloader
        return {
            "debug": app.debug,
            "threads": environ["wsgi.multithread"],
            "server": environ["SERVER_SOFTWARE"],
            "reloaded": is_running_from_reloader(),
            "flaskenv": os.environ.get("FROM_FLASKENV"),
        }

    @app.get("/boom")
    def boom():
        return 1 / 0

    def create_app(greeting="made"):
        made = flask.Flask("made")
        made.get("/")(lambda: greeting)
        return made

    app.run()  # which nothing may come of
    """


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "hello.py").write_text(textwrap.dedent(HELLO))
    return folder


@pytest.fixture
def flask(launch_command, folder):
    """flask(*arguments, env={}): a running `flask` of the folder; it must end well."""
    started = []

    def start(*arguments, env=None, wait=True):
        script = "import os, sys; os.chdir(sys.argv.pop(1)); from flask.cli import main; main()"
        # sys.orig_argv is what runs again: the folder is in it.
        command = [sys.executable, "-c", script, str(folder), *arguments]
        server = launch_command(command, env)
        started.append(server)
        return server.wait_for_start() if wait else server

    try:
        yield start
        for server in started:
            server.stop()
    finally:
        for server in started:
            server.kill()


def get(server, target="/"):
    with Client(server.address) as client:
        return client.get(target)


def state(server):
    import json

    return json.loads(get(server, "/state").body)


def test_the_options_of_flask_run(flask):
    server = flask("--app", "hello", "zolal", "--host", "127.0.0.1", "--port", "0")
    assert get(server).body == b"one"
    found = state(server)
    assert found["server"].startswith("zolal")
    assert (found["debug"], found["threads"], found["reloaded"]) == (False, True, False)
    assert "Serving Flask app 'hello'" in server.stdout() + server.stderr()
    assert re.search(r'127\.0\.0\.1 - - \[.*\] "GET / HTTP/1.1" 200 -', server.stderr())
    server.stop()


@pytest.mark.parametrize(
    ("arguments", "env", "body"),
    [
        (["--app", "hello:create_app('hey')"], {}, b"hey"),
        ([], {"FLASK_APP": "hello.py"}, b"one"),
        (["-A", "hello:create_app"], {"FLASK_RUN_HOST": "127.0.0.1"}, b"made"),
    ],
)
def test_ways_to_find_the_application(flask, arguments, env, body):
    server = flask(*arguments, "zolal", env={"FLASK_RUN_PORT": "0", **env})
    assert get(server).body == body


def test_app_py_is_found(flask, folder):
    (folder / "hello.py").rename(folder / "app.py")
    assert get(flask("zolal", "-p", "0")).body == b"one"


def test_flaskenv_is_read(flask, folder):
    pytest.importorskip("dotenv")
    (folder / ".flaskenv").write_text(
        "FLASK_APP=hello\nFLASK_RUN_PORT=0\nFLASK_DEBUG=1\nFROM_FLASKENV=yes\n"
    )
    found = state(flask("zolal"))
    assert (found["debug"], found["flaskenv"], found["reloaded"]) == (True, "yes", True)


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_reloads_and_debugs(flask, folder, place):
    where = ["--debug", "zolal"] if place == "before" else ["zolal", "--debug"]
    server = flask("--app", "hello", *where, "-p", "0")
    found = state(server)
    assert (found["debug"], found["reloaded"]) == (True, True)
    page = get(server, "/boom")
    assert page.status == 500 and b"EVALEX = true" in page.body
    assert "Debugger PIN" in server.stderr()
    path = folder / "hello.py"
    path.write_text(path.read_text().replace('"one"', '"two"'))
    server.wait_until(lambda: get(server).body == b"two", "it did not reload")
    path.write_text("import flask\n1 / 0\n")
    server.wait_until(lambda: b"ZeroDivisionError" in get(server).body, "it shows no error")
    path.write_text(textwrap.dedent(HELLO))
    server.wait_until(lambda: get(server).body == b"one", "it did not recover")
    assert (server.stdout() + server.stderr()).count("Serving Flask app") == 1


def test_parts_of_debug(flask):
    arguments = ["--no-reload", "--no-debugger", "-p", "0", "--without-threads"]
    server = flask("--app", "hello", "zolal", "--debug", *arguments)
    found = state(server)
    assert (found["debug"], found["reloaded"], found["threads"]) == (True, False, False)
    assert b"EVALEX" not in get(server, "/boom").body


def test_a_unix_socket(flask, tmp_path):
    server = flask("--app", "hello", "zolal", "--host", f"unix://{tmp_path}/s")
    assert server.address == f"{tmp_path}/s"
    assert get(server).body == b"one"


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
@pytest.mark.parametrize(
    ("app", "text"),
    [("nothing", "Could not import 'nothing'"), ("hello:nothing", "Failed to find")],
)
def test_what_is_not_there(flask, app, text, reload):
    server = flask("--app", app, "zolal", reload, "-p", "0", wait=False)
    assert server.process.wait(PATIENCE) == 4
    assert text in server.stderr()
    assert "Traceback" not in server.stderr()


def test_an_import_that_fails_inside(flask, folder):
    (folder / "hello.py").write_text("import not_there_at_all\n")
    server = flask("--app", "hello", "zolal", "--debug", "-p", "0")
    page = get(server)
    assert page.status == 500 and b"not_there_at_all" in page.body
    (folder / "hello.py").write_text(textwrap.dedent(HELLO))
    server.wait_until(lambda: get(server).body == b"one", "it did not recover")


def test_help_lists_it(flask):
    server = flask("--app", "hello", "--help", wait=False)
    assert server.process.wait(PATIENCE) == 0
    assert re.search("zolal +Run a development server", server.stdout())
    server = flask("zolal", "--help", wait=False)
    assert server.process.wait(PATIENCE) == 0
    for text in ("--host", "--port", "--reload / --no-reload", "--extra-files", "--xray", "5000"):
        assert text in server.stdout()


RUN = """
    import flask
    import zolal.flask

    app = flask.Flask(__name__)

    @app.get("/")
    def index():
        return f"one {app.debug}"

    if __name__ == "__main__":
        zolal.flask.run(app, port=0, debug=True)
    """


def test_run_in_the_place_of_app_run(launch_command, folder):
    path = folder / "script.py"
    path.write_text(textwrap.dedent(RUN))
    server = launch_command(
        [
            sys.executable,
            "-c",
            "import os, sys; os.chdir(sys.argv[1]); import runpy; "
            "sys.path.insert(0, ''); runpy.run_path('script.py', run_name='__main__')",
            str(folder),
        ]
    )
    try:
        found = server.wait_until(lambda: SERVES.search(server.stderr()), "it did not start")
        server.address = parse(found.group(1))
        assert get(server).body == b"one True"
        path.write_text(textwrap.dedent(RUN).replace("one", "two"))
        server.wait_until(lambda: get(server).body == b"two True", "it did not reload")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
    finally:
        server.kill()
