"""A page of Django: its default middleware for a small site, twenty rows of SQLite, a template. The
database is made by `python django_app.py`, at BENCH_DATABASE."""

import os

import django
from django.conf import settings

ENTRIES = [(f"Guest {number}", f"Entry <{number}> & more") for number in range(1, 21)]
PAGE = """<!doctype html>
<title>{{ title }}</title>
<ul>
{% for entry in entries %}<li><b>{{ entry.author }}</b>: {{ entry.text }}</li>
{% endfor %}</ul>
"""

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["BENCH_DATABASE"],
            "CONN_MAX_AGE": None,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",  # gives Content-Length
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="no secret",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", {"entries.html": PAGE})]
            },
        }
    ],
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402


class Entry(models.Model):
    author = models.CharField(max_length=80)
    text = models.TextField()

    class Meta:
        app_label = "bench"


def entries(request):
    found = Entry.objects.order_by("id")[:20]
    return render(request, "entries.html", {"title": "Guests", "entries": found})


urlpatterns = [path("entries/", entries)]
application = get_wsgi_application()

if __name__ == "__main__":
    with connection.schema_editor() as editor:
        editor.create_model(Entry)
    Entry.objects.bulk_create(Entry(author=author, text=text) for author, text in ENTRIES)
