"""StaticLiveServerTestCase on zolal, driven by a real Chromium: the admin, its static files and its
scripts. Needs Debian's `chromium` and Playwright from PyPI (whose own browsers are not used)."""

import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "django"))
pytest.importorskip("django")
pytest.importorskip("playwright", reason="Playwright is not installed: pip install playwright")

from projects import Project  # noqa: E402

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium: apt install chromium")

SETTINGS = """\
from mysite.settings import *
INSTALLED_APPS += ["django.contrib.admin", "django.contrib.sessions", "django.contrib.messages"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES[0]["OPTIONS"] = {"context_processors": [
    "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages"]}
ROOT_URLCONF = "mysite.admin_urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""

URLS = """\
from django.contrib import admin
from django.urls import path
from mysite.urls import urlpatterns
urlpatterns = [*urlpatterns, path("admin/", admin.site.urls)]
"""

ADMIN = """\
from django.contrib import admin
from pages.models import Note
admin.site.register(Note)
"""

TESTS = """\
import os
from django.contrib.auth.models import User
from pages.models import Note
from playwright.sync_api import sync_playwright
from zolal import native
from zolal.django.test import StaticLiveServerTestCase


class AdminTests(StaticLiveServerTestCase):
    def test_admin(self):
        self.assertTrue(native.can_serve(self.server_thread.httpd))
        User.objects.create_superuser("ann", "ann@example.com", "pass word")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=os.environ["CHROMIUM"], args=["--no-sandbox", "--no-proxy-server"])
            page = browser.new_page()
            failed, scripts = [], []
            page.on("requestfailed", lambda request: failed.append(request.url))
            page.on("response", lambda response: response.status >= 400 and failed.append(
                f"{response.status} {response.url}"))
            page.on("pageerror", lambda error: scripts.append(str(error)))
            page.goto(self.live_server_url + "/admin/")
            page.fill("#id_username", "ann")
            page.fill("#id_password", "pass word")
            page.click("input[type=submit]")
            page.wait_for_selector("#user-tools")
            colour = page.eval_on_selector("#header", "e => getComputedStyle(e).backgroundColor")
            for number in range(3):
                page.goto(self.live_server_url + "/admin/pages/note/add/")
                page.fill("#id_text", f"n\\u00f6te {number}")
                page.click("input[name=_save]")
                page.wait_for_selector(".success")
            page.check("#action-toggle")
            page.select_option("select[name=action]", "delete_selected")
            page.click("button[name=index]")
            page.click("#content input[type=submit]")
            page.wait_for_selector(".success")
            browser.close()
        self.assertEqual((failed, scripts), ([], []))
        self.assertNotIn(colour, ("rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"))
        self.assertEqual(Note.objects.count(), 0)
"""


def test_admin_in_chromium(tmp_path):
    project = Project(tmp_path)
    project.write("mysite/admin_settings.py", SETTINGS)
    project.write("mysite/admin_urls.py", URLS)
    project.write("pages/admin.py", ADMIN)
    project.write("pages/tests.py", TESTS)
    status, stdout, stderr = project.run(
        "test",
        DJANGO_SETTINGS_MODULE="mysite.admin_settings",
        # Playwright's synchronous interface has an event loop in the thread.
        DJANGO_ALLOW_ASYNC_UNSAFE="true",
        CHROMIUM=CHROMIUM,
    )
    assert status == 0, stdout + stderr
    assert "Ran 1 test" in stderr
