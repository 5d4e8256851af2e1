"""Django projects for the tests, and the processes that serve them."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

from running import PATIENCE, Server

MANAGE = """\
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
from django.core.management import execute_from_command_line
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""

SETTINGS = """\
import os, pathlib
BASE_DIR = pathlib.Path(__file__).resolve().parent.parent
SECRET_KEY = "a key for tests only"
DEBUG = os.environ.get("DEBUG", "1") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"]
INSTALLED_APPS = os.environ.get("APPS", "zolal.django django.contrib.staticfiles").split() + [
    "django.contrib.contenttypes", "django.contrib.auth", "pages"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3",
                         "TEST": {"NAME": os.environ.get("TEST_DATABASE")}}}
if "CONN_MAX_AGE" in os.environ:
    DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ["CONN_MAX_AGE"])
STATIC_URL = "static/"
USE_TZ = True
LANGUAGE_CODE = "en-us"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

URLS = """\
from django.urls import path
from pages import views
urlpatterns = [path(name + "/", getattr(views, name)) for name in (
    "hello", "redirected", "broken", "form", "upload", "stream", "slow", "notes", "opened",
    "thread", "meta")]
"""

VIEWS = """\
import threading, time
from django.db.backends.signals import connection_created
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from pages.models import Note

connects = []
connection_created.connect(lambda **kwargs: connects.append(1), weak=False)


def hello(request):
    return HttpResponse("version 1 says hello")


def redirected(request):
    return HttpResponseRedirect("/hello/")


def broken(request):
    raise ZeroDivisionError("intended")


@csrf_exempt
def form(request):
    return JsonResponse(dict(request.POST.lists()))


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return JsonResponse({"name": file.name, "size": file.size, "sum": sum(file.read())})


def stream(request):
    rows = int(request.GET.get("rows", "10"))
    return StreamingHttpResponse(b"row %d\\n" % number for number in range(rows))


def slow(request):
    print("slow begins", flush=True)
    time.sleep(float(request.GET.get("seconds", "600")))
    return HttpResponse("slow")


def notes(request):
    names = [note.text for note in Note.objects.filter(text__startswith="secret value")]
    for _ in range(int(request.GET.get("again", "0"))):
        Note.objects.filter(pk=1).exists()
    return JsonResponse({"notes": names})


def opened(request):
    Note.objects.count()
    return JsonResponse({"opened": len(connects)})


def thread(request):
    return HttpResponse(threading.current_thread().name)


def meta(request):
    return JsonResponse({name: value for name, value in sorted(request.META.items())
                         if isinstance(value, (str, bool, int))})
"""

MODELS = """\
from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=100)
"""

MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.CreateModel("Note", [
        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                                   verbose_name="ID")),
        ("text", models.CharField(max_length=100))])]
"""

FILES = {
    "manage.py": MANAGE,
    "mysite/__init__.py": "",
    "mysite/settings.py": SETTINGS,
    "mysite/urls.py": URLS,
    "mysite/wsgi.py": """\
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
""",
    "pages/__init__.py": "",
    "pages/models.py": MODELS,
    "pages/views.py": VIEWS,
    "pages/migrations/__init__.py": "",
    "pages/migrations/0001_initial.py": MIGRATION,
    "pages/static/pages/style.css": "body { color: teal }\n",
}

DJANGO_ALONE = "django.contrib.staticfiles"
"""APPS of the same project without zolal: Django's own runserver."""


class Project:
    """A project in `folder`. run(), start(): `manage.py` with these arguments."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        for name, text in FILES.items():
            self.write(name, text)
        self.processes = []

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def replace(self, name, old, new):
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def _command(self, arguments, prefix=()):
        return [*prefix, sys.executable, "-u", "manage.py", *arguments]

    def run(self, *arguments, prefix=(), patience=3 * PATIENCE, **env):
        """(status, standard output, standard error) of one that ends itself."""
        process = Process(self, self._command(arguments, prefix), env)
        try:
            status = process.process.wait(patience)
            return status, process.stdout(), process.stderr()
        finally:
            process.kill()

    def start(self, *arguments, prefix=(), terminal=None, **env):
        process = Process(self, self._command(arguments, prefix), env, terminal)
        self.processes.append(process)
        return process

    def runserver(self, *arguments, **env):
        """A server that has started."""
        process = self.start("runserver", *arguments, **env)
        process.wait_for_start()
        return process

    def migrate(self):
        status, _, stderr = self.run("migrate", "--verbosity=0")
        assert status == 0, stderr

    def end(self):
        for process in self.processes:
            process.kill()


class Process(Server):
    """A process in a session of its own, so that Ctrl-C can be given to all that it has started."""

    count = 0

    def __init__(self, project, command, env, terminal=None):
        Process.count += 1
        self._out = project.folder / f"out-{Process.count}"
        self._err = project.folder / f"err-{Process.count}"
        environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",  # the reloader's child does not inherit -u
            "COLUMNS": "200",
            **{name: str(value) for name, value in env.items()},
        }
        for name in ("DJANGO_SETTINGS_MODULE", "ZOLAL_XRAY", "DJANGO_COLORS"):
            if name not in env:
                environment.pop(name, None)
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=project.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=terminal or out,
                stderr=terminal or err,
                start_new_session=True,
                # Whoever runs the tests in the background ignores Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def wait_for_start(self, times=1):
        """Until it has said so (`times` times, when it was reloaded) and listens."""
        found = self.wait_until(
            lambda: (
                starts
                if len(starts := re.findall(r"server at (http://\S+)/", self.stdout())) >= times
                else None
            ),
            "the server did not start",
        )
        self.url = found[-1].replace("//0.0.0.0:", "//127.0.0.1:").replace("//0:", "//127.0.0.1:")

    def get(self, path, **options):
        return get(self.url + path, **options)

    def interrupt(self):
        """Ctrl-C on the terminal."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self):
        return self.process.wait(PATIENCE)

    def session(self):
        """The processes of its session: itself, what it has started, and what was left behind."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2]
                except OSError:
                    continue
                words = fields.split()
                if int(words[3]) == self.pid and words[0] != "Z":
                    found.append(int(entry))
        return found

    def said(self):
        return self.stdout() + self.stderr()

    def kill(self):
        for pid in self.session():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.text = body.decode(errors="replace")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


_opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def get(url, data=None, headers=None, method=None):
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with _opener.open(request, timeout=PATIENCE) as response:
            return Reply(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read())


def free_port(family=socket.AF_INET):
    with socket.socket(family) as listening:
        listening.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        return listening.getsockname()[1]


def has_ipv6(host="::1"):
    try:
        socket.getaddrinfo(host, 80, socket.AF_INET6)
        free_port(socket.AF_INET6)
    except OSError:
        return False
    return True


CHANGING = [
    (r"\w+ \d+, \d+ - \d\d:\d\d:\d\d", "DATE"),
    (r"\[\d\d/\w+/\d{4} \d\d:\d\d:\d\d\]", "[DATE]"),
    (r"Served by zolal [\w.]+\.\n", ""),
    (r"\"File .*/zolal/.*\n.*\n", ""),
]


def comparable(text, *ports):
    """What a server has said, without the time, the port, and the line that names zolal."""
    for pattern, plain in CHANGING:
        text = re.sub(pattern, plain, text)
    for port in ports:
        text = text.replace(str(port), "PORT")
    return text
