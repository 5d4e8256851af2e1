"""A Django project in one file, on SQLite in memory of its own folder (DJANGO_FOLDER)."""

import collections
import gc
import os
import pathlib
import threading
import time
import weakref

import django
from django.conf import settings

FOLDER = pathlib.Path(os.environ["DJANGO_FOLDER"])

settings.configure(
    DEBUG=False,
    SECRET_KEY="a key for tests only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    INSTALLED_APPS=["django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}},
    USE_TZ=True,
    FILE_UPLOAD_MAX_MEMORY_SIZE=100_000,
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR"}},
    },
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.signals import request_finished, request_started  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import (  # noqa: E402
    FileResponse,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

call_command("migrate", verbosity=0)

requests = weakref.WeakSet()
signals = {"started": 0, "finished": 0}
threads = collections.Counter()
astray = []


def count(name):
    def receive(**unused):
        signals[name] += 1
        thread = threading.get_ident()
        threads[thread] += 1 if name == "started" else -1
        if threads[thread] not in (0, 1):
            astray.append(name)

    return receive


count_started, count_finished = count("started"), count("finished")
request_started.connect(count_started)
request_finished.connect(count_finished)


def hello(request):
    requests.add(request)
    response = HttpResponse("hällo " + request.GET.get("name", "world"))
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response


@csrf_exempt
def form(request):
    requests.add(request)
    return JsonResponse({key: request.POST.getlist(key) for key in sorted(request.POST)})


@csrf_exempt
def upload(request):
    requests.add(request)
    file = request.FILES["file"]
    content = b"".join(file.chunks())
    return JsonResponse(
        {
            "name": file.name,
            "size": file.size,
            "kind": type(file).__name__,
            "sum": sum(content),
            "note": request.POST["note"],
        }
    )


@csrf_exempt
def raw(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


def stream(request):
    requests.add(request)

    def rows():
        for number in range(1000):
            yield f"row {number}\n"

    return StreamingHttpResponse(rows(), content_type="text/plain")


def download(request):
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="django_app.py")


def visits(request):
    """A session, so the database is written and a cookie is set."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


def rows(request):
    """Streams out of the database: its connection belongs to one thread."""

    def read():
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<500) "
                "SELECT x FROM n"
            )
            for (number,) in cursor:
                yield f"{number} "

    return StreamingHttpResponse(read(), content_type="text/plain")


def broken(request):
    requests.add(request)
    raise ZeroDivisionError("intended")


def redirect(request):
    return HttpResponseRedirect("/hello")


def absolute(request):
    return HttpResponse(request.build_absolute_uri("/x?y"))


def alive(request):
    # What the signal of the last request's end still holds is gone a moment later.
    deadline = time.monotonic() + 1
    while len(requests) > 0 and time.monotonic() < deadline:
        gc.collect()
    return JsonResponse({"alive": len(requests), "astray": astray, **signals})


urlpatterns = [
    path(f"{view.__name__}", view)
    for view in (
        hello,
        form,
        upload,
        raw,
        stream,
        download,
        visits,
        rows,
        broken,
        redirect,
        absolute,
        alive,
    )
]

application = get_wsgi_application()
