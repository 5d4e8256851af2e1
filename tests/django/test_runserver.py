"""manage.py runserver on zolal, beside Django's own: what is typed, what is said, how it ends."""

import json
import os
import pty
import re
import shutil
import signal
import socket

import pytest
from projects import DJANGO_ALONE, FILES, comparable, free_port, has_ipv6

ON = {}
OFF = {"APPS": DJANGO_ALONE}
named_ipv6 = pytest.mark.skipif(
    not has_ipv6("localhost"), reason="localhost has no IPv6 address on this machine"
)
ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


def is_zolal(server):
    """By the line that it alone writes, before it answers anything: ask when it has answered."""
    return "Served by zolal" in server.stdout()


# ---- addresses


@pytest.mark.parametrize(
    "arguments",
    [
        ["{port}"],
        ["127.0.0.1:{port}"],
        ["localhost:{port}"],
        ["0:{port}"],
        ["0.0.0.0:{port}"],
        pytest.param(["[::1]:{port}"], marks=ipv6),
        pytest.param(["-6", "{port}"], marks=ipv6),
        pytest.param(["--ipv6", "localhost:{port}"], marks=named_ipv6),
        ["{port}", "--nothreading"],
    ],
)
def test_address(project, arguments):
    """Said as Django says it, and served there."""
    said = []
    for env in (ON, OFF):
        port = free_port()
        server = project.runserver(
            "--noreload", *(argument.format(port=port) for argument in arguments), **env
        )
        assert server.get("/hello/").text == "version 1 says hello"
        assert is_zolal(server) == (env is ON)
        server.wait_until(lambda server=server: "/hello/" in server.stderr(), "no line")
        server.interrupt()
        assert server.wait() == 0
        said.append((comparable(server.stdout(), port), comparable(server.stderr(), port)))
    assert said[0] == said[1]


def test_port_zero(project):
    server = project.runserver("--noreload", "0")
    assert server.get("/hello/").status == 200
    assert not server.url.endswith(":0")


@pytest.mark.parametrize(
    "address", ["nonsense", "1.2.3.4.5:8000", "127.0.0.1:port", "127.0.0.1:99999", "192.0.2.1:8000"]
)
def test_address_that_cannot_be(project, address):
    ours = project.run("runserver", "--noreload", address)
    theirs = project.run("runserver", "--noreload", address, **OFF)
    assert ours[0] == theirs[0] != 0
    assert ours[2].splitlines()[-1] == theirs[2].splitlines()[-1]
    assert comparable(ours[1]) == comparable(theirs[1])


def test_port_in_use(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for env in (ON, OFF):
            status, _, stderr = project.run("runserver", "--noreload", str(port), **env)
            assert (status, stderr) == (1, "Error: That port is already in use.\n")


def test_port_without_permission(project):
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may take every port, and there is no setpriv to give that up")
        prefix = ["setpriv", "--bounding-set=-net_bind_service"]
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 1:
            pytest.skip("everybody may take every port")
    for env in (ON, OFF):
        status, _, stderr = project.run("runserver", "--noreload", "1", prefix=prefix, **env)
        assert (status, stderr) == (1, "Error: You don't have permission to access that port.\n")


# ---- what is said


def test_log_lines(project):
    """Each line of the log is Django's."""
    said = []
    for env in (ON, OFF):
        server = project.runserver("--noreload", "0", **env)
        server.get("/hello/?a=%20b")
        server.get("/hello/", method="HEAD")
        server.get("/redirected/")
        server.get("/nowhere/")
        server.get("/broken/")
        server.get("/static/pages/style.css")
        server.get("/form/", data=b"a=1")
        server.get("/hello%C3%A9/")
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n",
            b"NONSENSE\r\n\r\n",
        ):
            with socket.create_connection(server.url.removeprefix("http://").split(":")) as client:
                client.sendall(garbage)
                client.settimeout(20)
                while client.recv(1000):
                    pass
        server.wait_until(lambda server=server: "NONSENSE" in server.stderr(), "no line")
        server.interrupt()
        server.wait()
        lines = [
            # Why a request is refused is said in each server's own words.
            re.sub("code 400, .*", "code 400", re.sub(r" \d+$", " SIZE", line))
            for line in comparable(server.stderr()).splitlines()
            if "[DATE]" in line
        ]
        said.append(lines)
    # A line may come a moment after its answer, when the next one is there.
    assert sorted(said[0]) == sorted(said[1])


@pytest.mark.parametrize("options", [[], ["--no-color"]])
def test_colours(project, options):
    """On a terminal, the log's lines have Django's colours."""
    said = []
    for env in (ON, OFF):
        port = free_port()
        master, slave = pty.openpty()
        server = project.start(
            "runserver", "--noreload", *options, str(port), terminal=slave, TERM="xterm", **env
        )
        os.close(slave)
        text = b""
        while b"development server at" not in text:
            text += os.read(master, 10_000)
        server.url = f"http://127.0.0.1:{port}"
        for path in ("/hello/", "/redirected/", "/nowhere/", "/broken/"):
            server.get(path)
        while b"/broken/ HTTP" not in text:
            text += os.read(master, 10_000)
        server.interrupt()
        server.wait()
        os.close(master)
        said.append(re.findall(r"(?:\x1b\[[\d;]+m)*\[\d\d/.*\] (.*)(?= \d+)", text.decode()))
    assert said[0] == said[1]
    assert len(said[0]) == 4
    assert ("\x1b[" in "".join(said[0])) == (options == [])


def test_no_color(project):
    server = project.runserver("--noreload", "--no-color", "0")
    server.get("/nowhere/")
    server.wait_until(lambda: "/nowhere/" in server.stderr(), "no line")
    assert "\x1b[" not in server.stderr() + server.stdout()


def test_migrations_warning(project):
    said = []
    for env in (ON, OFF):
        server = project.runserver("--noreload", "0", **env)
        said.append(server.stdout().partition("Django version")[0])
    assert comparable(said[0]) == comparable(said[1])
    assert "unapplied migration(s)" in said[0]


def test_system_checks(project):
    project.replace("pages/models.py", "max_length=100", "max_length=-1")
    ours = project.run("runserver", "--noreload", "0")
    theirs = project.run("runserver", "--noreload", "0", **OFF)
    assert ours[0] == theirs[0] != 0
    assert "fields.E121" in ours[2]
    assert ours[2].split("SystemCheckError")[1] == theirs[2].split("SystemCheckError")[1]
    server = project.runserver("--noreload", "--skip-checks", "0")
    assert "Performing system checks" not in server.stdout()
    assert server.get("/hello/").status == 200


def test_help(project):
    """All of Django's options, and one more."""
    ours = project.run("runserver", "--help")[1]
    theirs = project.run("runserver", "--help", **OFF)[1]
    options = [set(re.findall(r"(?<![\w-])--?[a-zA-Z0-9][\w-]*", text)) for text in (ours, theirs)]
    assert options[0] - options[1] == {"--xray"}
    assert options[1] <= options[0]


# ---- static files


@pytest.mark.parametrize(
    "arguments, debug, status",
    [([], 1, 200), (["--nostatic"], 1, 404), ([], 0, 404), (["--insecure"], 0, 200)],
)
def test_static_files(project, arguments, debug, status):
    found = []
    for apps in ("zolal.django django.contrib.staticfiles", DJANGO_ALONE):
        server = project.runserver("--noreload", *arguments, "0", APPS=apps, DEBUG=debug)
        reply = server.get("/static/pages/style.css")
        assert reply.status == status
        found.append(
            (reply.body, reply.headers.get("Content-Type"), reply.headers["Last-Modified"])
        )
    if status == 200:
        assert found[0] == found[1]


def test_without_staticfiles(project):
    server = project.runserver("--noreload", "0", APPS="zolal.django")
    assert server.get("/hello/").status == 200
    assert is_zolal(server)
    assert server.get("/static/pages/style.css").status == 404


def test_order(project):
    """After an app whose runserver wins, a check says so, and how to mend it."""
    wrong = "django.contrib.staticfiles zolal.django"
    server = project.runserver("--noreload", "0", APPS=wrong)
    assert server.get("/hello/").status == 200
    assert not is_zolal(server)
    said = server.stderr()
    assert "zolal.W001" in said
    assert "Move 'zolal.django' up, before 'django.contrib.staticfiles'" in said
    assert "zolal.W" not in project.run("check")[2]


def test_next_command_is_extended(project):
    """Another app's runserver between ours and Django's has its say, in both orders."""
    project.write("other/__init__.py", "")
    project.write("other/management/__init__.py", "")
    project.write("other/management/commands/__init__.py", "")
    project.write(
        "other/management/commands/runserver.py",
        "from django.contrib.staticfiles.management.commands.runserver import Command as Base\n"
        "class Command(Base):\n"
        "    def inner_run(self, *args, **options):\n"
        "        self.stdout.write('the other one')\n"
        "        super().inner_run(*args, **options)\n",
    )
    server = project.runserver(
        "--noreload", "0", APPS="zolal.django other django.contrib.staticfiles"
    )
    assert server.get("/hello/").status == 200
    assert is_zolal(server)
    assert "the other one" in server.stdout()
    assert "zolal.W" not in server.stderr()
    project.replace(
        "other/management/commands/runserver.py",
        "from django.contrib.staticfiles.management",
        "from zolal.django.management",
    )
    server = project.runserver(
        "--noreload", "0", APPS="other zolal.django django.contrib.staticfiles"
    )
    assert server.get("/hello/").status == 200
    assert is_zolal(server)
    assert "the other one" in server.stdout()
    assert "zolal.W" not in server.stderr()
    project.write(
        "other/management/commands/runserver.py",
        "from django.core.management.commands.runserver import Command as Base\n"
        "class Command(Base):\n"
        "    def inner_run(self, *args, **options):\n"
        "        serve_otherwise()\n",
    )
    assert "zolal.W002" in project.run("check", APPS="zolal.django other")[2]


# ---- clients


def test_client_that_leaves(project):
    server = project.runserver("--noreload", "0")
    host, port = server.url.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(b"GET /stream/?rows=1000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(1000)
    assert server.get("/hello/").status == 200
    assert "Traceback" not in server.stderr()


def test_meta(project):
    """request.META has what it has with Django's own server."""
    found = []
    for env in (ON, OFF):
        server = project.runserver("--noreload", "0", HTTP_PROXY="http://proxy.invalid", **env)
        meta = json.loads(
            server.get(
                "/meta/?q=%C3%A9", headers={"X-Good": "1", "X_Bad": "2", "Connection": "close"}
            ).body
        )
        found.append(meta)
    ours, theirs = found
    changing = {"SERVER_PORT", "REMOTE_PORT", "HTTP_HOST", "APPS", "HTTP_PROXY"}
    # Django's says "text/plain" where the client has said nothing.
    changing.add("CONTENT_TYPE")
    for name in sorted(theirs.keys() - changing):
        assert ours.get(name) == theirs[name], name
    assert "HTTP_X_BAD" not in ours
    assert "HTTP_PROXY" not in ours


# ---- the end


@pytest.mark.parametrize("arguments", [["--noreload"], ["--noreload", "--nothreading"], []])
@pytest.mark.parametrize("busy", [False, True])
def test_interrupt(project, arguments, busy):
    """Ctrl-C ends it at once, also while a view runs (which would take ten minutes)."""
    port = free_port()
    server = project.runserver(*arguments, str(port))
    if busy:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET /slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_until(lambda: "slow begins" in server.stdout(), "no request")
    else:
        server.get("/hello/")
    server.interrupt()
    assert server.wait() == 0
    assert "Traceback" not in server.stderr()
    server_is_gone(server, port)
    if busy:
        client.close()


def server_is_gone(server, port):
    """No process is left, and the port can be had."""
    for _ in range(500):
        if not server.session():
            break
        signal.sigtimedwait([], 0.02)
    assert server.session() == []
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        again.listen()


@pytest.mark.parametrize(
    "arguments", [["--noreload"], ["--noreload", "--nothreading"], [], ["--xray"]]
)
def test_terminate(project, arguments):
    port = free_port()
    server = project.runserver(*arguments, str(port))
    server.get("/hello/")
    server.process.terminate()
    server.wait()
    assert "Traceback" not in server.stderr()
    server_is_gone(server, port)


def test_shutdown_message(project):
    project.write(
        "serve.py",
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'\n"
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('runserver', '0', use_reloader=False, shutdown_message='good bye')\n",
    )
    (project.folder / "manage.py").write_text((project.folder / "serve.py").read_text())
    server = project.start()
    server.wait_for_start()
    assert server.get("/hello/").status == 200
    assert is_zolal(server)
    server.interrupt()
    assert server.wait() == 0
    assert server.stdout().rstrip().endswith("good bye")


# ---- the reloader


def change(project, server, old, new, name="pages/views.py"):
    """Write, and have the reloader see it: it looks at files once a second, at first a while after
    the server has begun."""
    path = project.folder / name
    times = server.said().count("changed, reloading")
    before = path.stat().st_mtime_ns
    project.replace(name, old, new)

    def is_seen():
        nonlocal before
        before += 1_000_000_000
        os.utime(path, ns=(before, before))
        return server.said().count("changed, reloading") > times

    server.wait_until(is_seen, "the reloader has not seen it")


def test_reloader(project):
    """A changed view is served on the same port, time after time; one server is left, then none."""
    port = free_port()
    server = project.runserver(str(port))
    assert server.get("/hello/").text == "version 1 says hello"
    for version in range(1, 4):
        change(project, server, f"version {version}", f"version {version + 1}")
        server.wait_for_start(times=version + 1)
        assert server.get("/hello/").text == f"version {version + 1} says hello"
        assert len(server.session()) == 2  # the reloader and its child
    server.interrupt()
    assert server.wait() == 0
    server_is_gone(server, port)


def test_reload_with_a_request_under_way(project):
    port = free_port()
    server = project.runserver(str(port))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_until(lambda: "slow begins" in server.stdout(), "no request")
        change(project, server, "version 1", "version 2")
        server.wait_for_start(times=2)
        assert server.get("/hello/").text == "version 2 says hello"
        assert len(server.session()) == 2


def test_reloader_with_xray(project):
    """Its printer is neither lost nor left behind."""
    port = free_port()
    server = project.runserver(str(port), "--xray")
    server.get("/hello/")
    server.wait_until(lambda: "calls the application" in server.stdout(), "no tree")
    change(project, server, "version 1", "version 2")
    server.wait_for_start(times=2)
    server.get("/hello/")
    server.wait_until(lambda: server.stdout().count("calls the application") >= 2, "no tree")
    assert len(server.session()) == 3
    server.interrupt()
    server.wait()
    server_is_gone(server, port)


def test_error_in_the_project(project):
    """It is shown as Django shows it, and the server comes when it is mended."""
    said = []
    for env in (ON, OFF):
        project.write("mysite/urls.py", "urlpatterns = [\n")
        server = project.start("runserver", str(free_port()), **env)
        server.wait_until(lambda server=server: "SyntaxError" in server.stderr(), "no error")
        said.append(
            re.search(r"  File \".*urls.py\", line 1\n.*\n.*\nSyntaxError.*", server.stderr())[0]
        )
        change(project, server, "urlpatterns = [\n", FILES["mysite/urls.py"], "mysite/urls.py")
        server.wait_for_start()
        assert server.get("/hello/").status == 200
        assert is_zolal(server) == (env is ON)
        server.interrupt()
        server.wait()
    assert said[0] == said[1]


@pytest.mark.parametrize("where", ["mysite/settings.py", "mysite/wsgi.py"])
def test_error_at_the_start(project, where):
    project.write(where, (project.folder / where).read_text() + "\nimport missing_module\n")
    ours = project.run("runserver", "--noreload", "0")
    theirs = project.run("runserver", "--noreload", "0", **OFF)
    assert ours[0] == theirs[0] != 0
    assert ours[2].splitlines()[-1] == theirs[2].splitlines()[-1]
    assert "missing_module" in ours[2]


# ---- threads


def test_database_connections_live_on(project):
    """One for each thread that the quick requests need, not one for each request."""
    project.migrate()
    server = project.runserver("--noreload", "0", CONN_MAX_AGE=600)
    for _ in range(50):
        opened = json.loads(server.get("/opened/").body)["opened"]
    assert opened <= 8
    server = project.runserver("--noreload", "0", CONN_MAX_AGE=600, **OFF)
    for _ in range(20):
        opened = json.loads(server.get("/opened/").body)["opened"]
    assert opened >= 20  # the known complaint


def test_database_connections_are_closed_without_an_age(project):
    project.migrate()
    server = project.runserver("--noreload", "0")
    for number in range(10):
        assert json.loads(server.get("/opened/").body)["opened"] >= number


def test_nothreading(project):
    """One thread, the same for all."""
    server = project.runserver("--noreload", "--nothreading", "0")
    assert len({server.get("/thread/").text for _ in range(10)}) == 1


def test_threads(project):
    """A view that waits does not keep others waiting."""
    server = project.runserver("--noreload", "0")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, port)) as client:
        client.sendall(b"GET /slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_until(lambda: "slow begins" in server.stdout(), "no request")
        assert server.get("/hello/").status == 200


# ---- what is uploaded and streamed


def test_bodies(project):
    server = project.runserver("--noreload", "0")
    content = bytes(range(256)) * 20_000
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        + content
        + b"\r\n--B--\r\n"
    )
    found = server.get(
        "/upload/", data=body, headers={"Content-Type": "multipart/form-data; boundary=B"}
    )
    assert json.loads(found.body) == {
        "name": "a.bin",
        "size": len(content),
        "sum": sum(content),
    }
    expected = b"".join(b"row %d\n" % number for number in range(5000))
    assert server.get("/stream/?rows=5000").body == expected


def test_startproject(tmp_path, project):
    """One line in INSTALLED_APPS of what django-admin makes."""
    project.write("manage.py", "from django.core.management import execute_from_command_line as e\n"
                  "import sys; e(sys.argv)\n")  # fmt: skip
    assert project.run("startproject", "fresh")[0] == 0
    fresh = tmp_path / "fresh"
    settings = fresh / "fresh" / "settings.py"
    text = settings.read_text()
    settings.write_text(text.replace("INSTALLED_APPS = [", 'INSTALLED_APPS = [\n"zolal.django",'))
    project.folder = fresh
    server = project.runserver("--noreload", "0")
    assert "The install worked successfully" in server.get("/").text
    assert is_zolal(server)
    assert server.get("/static/admin/css/base.css").status == 200
    assert server.get("/admin/").status == 302
