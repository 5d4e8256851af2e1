"""entrance_runserver.py runserver ...: a Django project whose WSGI application is
$DRIVERS_APPLICATION."""

import os

from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    DEBUG=True,
    SECRET_KEY="not one",
    ROOT_URLCONF=None,
    INSTALLED_APPS=["zolal.django"],
    WSGI_APPLICATION=os.environ["DRIVERS_APPLICATION"].replace(":", "."),
)
execute_from_command_line()
