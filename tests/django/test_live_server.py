"""LiveServerTestCase and StaticLiveServerTestCase on zolal, run as a project's own tests."""

import pytest

TESTS = """\
import http.client, json, threading, urllib.request
from django.contrib.staticfiles import finders
from pages.models import Note
from pages import views
from zolal import _zolal, native
from zolal.basehttp import ThreadedWSGIServer
from zolal.django.test import LiveServerTestCase, StaticLiveServerTestCase


def get(url):
    with urllib.request.urlopen(url, timeout=20) as reply:
        return reply.read().decode()


class LiveServerTests(LiveServerTestCase):
    def test_pages(self):
        self.assertIs(type(self.server_thread.httpd), ThreadedWSGIServer)
        self.assertTrue(native.can_serve(self.server_thread.httpd))
        self.assertEqual(get(self.live_server_url + "/hello/"), "version 1 says hello")

    def test_database(self):
        Note.objects.create(text="secret value 1")
        found = json.loads(get(self.live_server_url + "/notes/"))
        self.assertEqual(found, {"notes": ["secret value 1"]})

    def test_database_is_empty_again(self):
        self.assertEqual(json.loads(get(self.live_server_url + "/notes/")), {"notes": []})

    def test_many_at_once(self):
        failures = []
        def ask():
            try:
                for _ in range(20):
                    get(self.live_server_url + "/notes/")
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        self.assertEqual(failures, [])


class StaticTests(StaticLiveServerTestCase):
    def test_static_files(self):
        self.assertIn("teal", get(self.live_server_url + "/static/pages/style.css"))


class NoneIsLeft(StaticLiveServerTestCase):
    def test_threads_of_other_classes_have_ended(self):
        servers = [one for one in threading.enumerate() if type(one).__name__ == "LiveServerThread"]
        self.assertEqual(servers, [self.server_thread])
"""


@pytest.mark.parametrize("database", [None, "test.sqlite3"])
def test_live_servers(project, database):
    """Also with a database in a file, which each thread opens for itself."""
    project.write("pages/tests.py", TESTS)
    env = {"TEST_DATABASE": project.folder / database} if database else {}
    if not database:
        project.replace("mysite/settings.py", 'os.environ.get("TEST_DATABASE")', "None")
    status, stdout, stderr = project.run("test", **env)
    assert status == 0, stderr
    assert "Ran 6 tests" in stderr
    assert "Exception" not in stdout + stderr
