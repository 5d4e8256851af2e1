"""The pytest plugin: pytest runs in a process of its own, on test files made for it."""

import json
import os
import subprocess
import sys
import textwrap

APP = """
    import threading
    import urllib.request

    import pytest

    from zolal.pytest_plugin import serving

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello from " + environ["PATH_INFO"].encode()]

    def get(url):
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read()

    def zolal_threads():
        return [one for one in threading.enumerate() if one.name.startswith("zolal")]
    """


def run_pytest(folder, tests, *arguments):
    (folder / "test_it.py").write_text(textwrap.dedent(APP) + textwrap.dedent(tests))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )


def outcomes(done):
    words = dict.fromkeys(("passed", "failed", "error", "errors"), 0)
    for part in done.stdout.splitlines()[-1].strip("= ").split(","):
        number, _, word = part.strip().partition(" ")
        words[word.split(" ")[0]] = int(number) if number.isdecimal() else 0
    return words


def test_the_fixture_serves_and_stops(tmp_path):
    done = run_pytest(
        tmp_path,
        """
        kept = []

        def test_one(zolal_server):
            server = zolal_server(app)
            assert server.url == f"http://127.0.0.1:{server.port}"
            assert server.address == f"127.0.0.1:{server.port}"
            assert get(server.url + "/x") == b"hello from /x"
            kept.append(server)

        def test_that_is_over():
            assert not kept[0].is_serving
            assert zolal_threads() == []
            with pytest.raises(OSError):
                get(kept[0].url)

        def test_several(zolal_server):
            servers = [zolal_server(app) for _ in range(3)]
            assert len({server.port for server in servers}) == 3
            assert {get(server.url + "/") for server in servers} == {b"hello from /"}

        def test_options(zolal_server, tmp_path):
            seen = []
            server = zolal_server(
                app, threads=1, bind=[f"unix:{tmp_path}/s", "127.0.0.1:0"],
                on_answer=lambda *answer: seen.append(answer[2:4]),
            )
            assert server.address == f"unix:{tmp_path}/s"
            assert get("http://" + server.addresses[1] + "/") == b"hello from /"

        def test_a_wrong_option(zolal_server):
            with pytest.raises(TypeError):
                zolal_server(app, nonsense=1)
            with pytest.raises(ValueError):
                zolal_server(app, limits={"nonsense": 1})

        def test_last():
            assert zolal_threads() == []
        """,
    )
    assert done.returncode == 0, done.stdout
    assert outcomes(done)["passed"] == 6


def test_wider_scopes(tmp_path):
    done = run_pytest(
        tmp_path,
        """
        @pytest.fixture(scope="session")
        def session_server():
            with serving(app) as server:
                yield server

        @pytest.fixture(scope="module", params=[1, 4])
        def module_server(request):
            with serving(app, threads=request.param) as server:
                yield server

        @pytest.mark.parametrize("number", range(3))
        def test_both(session_server, module_server, zolal_server, number):
            for server in (session_server, module_server, zolal_server(app)):
                assert get(server.url + "/a") == b"hello from /a"
        """,
    )
    assert done.returncode == 0, done.stdout
    assert outcomes(done)["passed"] == 6


def test_a_failing_test_and_a_failing_application(tmp_path):
    """Nothing hangs, and the other tests go on."""
    done = run_pytest(
        tmp_path,
        """
        def broken(environ, start_response):
            raise LookupError("broken on purpose")

        def test_fails(zolal_server):
            server = zolal_server(app)
            assert get(server.url + "/") == b"another"

        def test_raises(zolal_server, capfd):
            server = zolal_server(broken)
            with pytest.raises(urllib.error.HTTPError) as error:
                get(server.url + "/")
            assert error.value.code == 500
            error.value.close()
            assert "broken on purpose" in capfd.readouterr().err

        def test_after(zolal_server):
            assert len(zolal_threads()) == 0
            assert get(zolal_server(app).url + "/") == b"hello from /"
        """,
    )
    assert done.returncode == 1
    assert (outcomes(done)["passed"], outcomes(done)["failed"]) == (2, 1), done.stdout


def test_a_handler_that_does_not_come_back_does_not_hold_up_the_end(tmp_path):
    done = run_pytest(
        tmp_path,
        """
        def test_hangs(zolal_server):
            arrived, leave = threading.Event(), threading.Event()

            def hanging(environ, start_response):
                arrived.set()
                leave.wait(100)
                start_response("200 OK", [])
                return []

            server = zolal_server(hanging, limits={"graceful_ms": 1})
            import socket
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                assert arrived.wait(20)
                server.close()
                leave.set()
        """,
    )
    assert done.returncode == 0, done.stdout


def test_there_is_nothing_to_warn_of(tmp_path):
    done = run_pytest(
        tmp_path,
        """
        def test_one(zolal_server):
            assert get(zolal_server(app).url + "/") == b"hello from /"
        """,
        "-W",
        "error",
        "--strict-markers",
        "--strict-config",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warnings summary" not in done.stdout


def test_the_fixture_says_what_it_is(tmp_path):
    done = run_pytest(tmp_path, "", "--fixtures")
    assert "zolal_server" in done.stdout
    assert "zolal_server(app, **options)" in done.stdout


def test_it_can_be_left_out(tmp_path):
    done = run_pytest(tmp_path, "def test_one(zolal_server):\n    pass\n", "-p", "no:zolal", "-rA")
    assert "fixture 'zolal_server' not found" in done.stdout


def test_who_does_not_use_it_does_not_load_the_server(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_one():\n"
        "    assert 'zolal.pytest_plugin' in sys.modules\n"
        "    for name in ('zolal.server', 'zolal.address', 'zolal.cli', 'zolal.xray'):\n"
        "        assert name not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout


STARTS = """
import ctypes, gc, json, os, re, sys, threading, urllib.request
from zolal.pytest_plugin import serving


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def start(times, threads):
    for _ in range(times):
        with serving(app, threads=threads) as server:
            with urllib.request.urlopen(server.url, timeout=20) as answer:
                assert answer.read() == b"hello"

def anonymous():
    status = open("/proc/self/status").read()
    return int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) * 1024


def state():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free and not given back is no leak
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "python threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "files": len(os.listdir(os.environ["XDG_RUNTIME_DIR"])),
        "maps": len(open("/proc/self/maps").readlines()),
        "objects": len(gc.get_objects()),
        "memory": anonymous(),
    }

start(1000, 4)  # until memory is in as many pieces as it will be
before = state()
start(int(sys.argv[1]), 4)
print(json.dumps([before, state()]))
"""


def test_a_thousand_starts_leave_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STARTS, "1000"],
        cwd=tmp_path,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    for name in ("threads", "python threads", "descriptors", "files"):
        assert after[name] == before[name], (name, before, after)
    assert after["maps"] <= before["maps"] + 5, (before, after)
    assert after["objects"] <= before["objects"] + 200, (before, after)
    # A third of a MiB comes without a leak; 600 bytes lost at a start make three quarters of it.
    assert after["memory"] <= before["memory"] + (5 << 17), (before, after)
    assert list(tmp_path.iterdir()) == []
