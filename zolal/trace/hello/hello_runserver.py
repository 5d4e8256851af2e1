"""Django's development server, without the rest of Django."""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line

module, port = sys.argv[1:]
settings.configure(
    WSGI_APPLICATION=f"{module}.application",
    ALLOWED_HOSTS=["*"],
    # No access log.
    LOGGING={"version": 1, "loggers": {"django.server": {"level": "WARNING"}}},
)
arguments = ["runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"]
execute_from_command_line(["manage.py", *arguments])
