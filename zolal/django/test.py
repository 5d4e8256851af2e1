"""The drop-ins for Django's live server test cases: the server in them is zolal.

from zolal.django.test import LiveServerTestCase, StaticLiveServerTestCase"""

from __future__ import annotations

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import LiveServerTestCase as DjangoLiveServerTestCase
from django.test.testcases import LiveServerThread as DjangoLiveServerThread

from zolal.basehttp import ThreadedWSGIServer

__all__ = ["LiveServerTestCase", "LiveServerThread", "StaticLiveServerTestCase"]


class LiveServerThread(DjangoLiveServerThread):  # type: ignore[misc]
    """The thread that the server is in. `server_class`: its class."""

    server_class = ThreadedWSGIServer


class LiveServerTestCase(DjangoLiveServerTestCase):  # type: ignore[misc]
    """`live_server_url` is where the application is served while the tests run."""

    server_thread_class = LiveServerThread


class StaticLiveServerTestCase(LiveServerTestCase):
    """It serves the static files of the apps as well, without collectstatic."""

    static_handler = StaticFilesHandler
