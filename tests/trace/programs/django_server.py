"""Django's runserver, in one file."""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=True,
    SECRET_KEY="a key for tests only",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
)
urlpatterns = [path("", lambda request: HttpResponse("hello"))]

if __name__ == "__main__":
    execute_from_command_line(["manage.py", "runserver", "--noreload", sys.argv[1]])
