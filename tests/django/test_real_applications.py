"""Applications from PyPI, of three kinds, by runserver on zolal and by Django's own: the same
requests must have the same answers. They are downloaded once, into build/real: for ./dev soak."""

import difflib
import hashlib
import http.cookiejar
import json
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest
from projects import DJANGO_ALONE, PATIENCE, Project

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

ROOT = pathlib.Path(__file__).parents[2]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0"
    "000003010100c9fe92ef0000000049454e44ae426082"
)

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
SETTINGS = """\
import os, pathlib
BASE_DIR = pathlib.Path(__file__).resolve().parent.parent
SECRET_KEY = "a key for tests only"
DEBUG = True
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = os.environ["APPS"].split() + {apps!r}
MIDDLEWARE = {middleware!r}
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {{"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages"]}}}}]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3",
                          "NAME": BASE_DIR / "db.sqlite3", "CONN_MAX_AGE": 600}}}}
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / "media"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SITE_ID = 1
{more}
"""


def installed(*packages):
    """The folder with these packages and what they need, Django among it."""
    name = re.sub(r"\W+", "-", packages[0])
    folder = ROOT / "build" / "real" / name
    if not (folder / "django").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(partial)]
        done = subprocess.run([*command, *packages], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pip cannot install {packages}: {done.stderr[-300:]}")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


MASKS = [
    (r"[A-Za-z0-9]{64}", "TOKEN"),
    (r"csrftoken=[^;]+|sessionid=[^;]+|messages=[^;]+", "COOKIE"),
    (r'nonce="[^"]+"|nonce-[^\']+', "NONCE"),
    (r"(?:127\.0\.0\.1|localhost):\d+", "HOST"),
    (r"\w{3}, \d\d[ -]\w{3}[ -]\d{4} \d\d:\d\d:\d\d GMT", "TIME"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?", "TIME"),
    (r"\d{1,2}(:\d\d)? [ap]\.m\.|\d{1,2}:\d\d [ap]m", "TIME"),
    (r'(name="[\w-]*time[\w-]*" value=")[^"]*', r"\1TIME"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"/canonical/\d+/", "/canonical/"),
    (r"&quot;key&quot;: &quot;\w{5}&quot;", "KEY"),
    (r"filer_public(_thumbnails)?/\w\w/\w\w/", "filer_public/"),
    (r"\d+(\.\d+)? ?(ms|milliseconds|seconds?)", "DURATION"),
    (r"\d+\xa0(second|minute)s?( ago)?|just now", "AGE"),
]


def masked(text):
    for pattern, plain in MASKS:
        text = re.sub(pattern, plain, text)
    return text


class Visitor:
    """Clicks, keeps cookies, and writes down what came."""

    def __init__(self, url):
        self.url, self.seen = url, []
        self.cookies = http.cookiejar.CookieJar()

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *arguments):
                return None

        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies),
            urllib.request.ProxyHandler({}),
            Stay,
        )

    def ask(self, path, data=None, headers=None, method=None):
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        try:
            reply = self.opener.open(request, timeout=PATIENCE * 3)
        except urllib.error.HTTPError as error:
            reply = error
        with reply:
            body = reply.read()
            status, fields = reply.status, reply.headers
        kind = fields.get("Content-Type", "")
        if kind.startswith(("text/html", "application/json", "text/plain")):
            text = masked(body.decode())
        else:
            text = f"{len(body)} bytes {hashlib.sha256(body).hexdigest()}"
        left = {
            name: masked(value)
            for name, value in fields.items()
            if name not in ("Date", "Server", "Connection", "Transfer-Encoding", "Content-Length")
            and not (name == "Last-Modified" and path.startswith("/media/"))
        }
        asked = masked(f"{method or ('POST' if data else 'GET')} {path}")
        self.seen.append((asked, status, left, text))
        self.body, self.status, self.location = body.decode(errors="replace"), status, ""
        if fields.get("Location"):
            self.location = urllib.parse.urlsplit(fields["Location"]).path
        return self

    def token(self):
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.body)
        return found[1] if found else next(c.value for c in self.cookies if c.name == "csrftoken")

    def post(self, path, follow=True, files=None, referrer=None, **fields):
        """Fill in the form that is at `path`, send it, and go where that leads."""
        self.ask(referrer or path)
        pairs = [("csrfmiddlewaretoken", self.token()), *fields.items()]
        if files is None:
            body, kind = urllib.parse.urlencode(pairs).encode(), "application/x-www-form-urlencoded"
        else:
            body, kind = b"", "multipart/form-data; boundary=BOUNDARY"
            for name, value in pairs:
                body += b"--BOUNDARY\r\nContent-Disposition: form-data; "
                body += f'name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, (filename, content) in files.items():
                body += b"--BOUNDARY\r\nContent-Disposition: form-data; "
                body += f'name="{name}"; filename="{filename}"\r\n'.encode()
                body += b"Content-Type: image/png\r\n\r\n" + content + b"\r\n"
            body += b"--BOUNDARY--\r\n"
        self.ask(path, body, {"Content-Type": kind, "Referer": self.url + path})
        if follow and self.status == 302 and self.location:
            self.ask(self.location)
        return self

    def linked(self):
        """The style sheets, scripts and pictures of the page that was seen last."""
        found = re.findall(r'(?:href|src)="(/(?:static|media)/[^"]+)"', self.body)
        for path in sorted(set(found)):
            self.ask(path.replace("&amp;", "&"))
        return self

    def login(self, path):
        self.post(path, username="ann", password="pass word")
        assert self.status == 200, self.seen[-2:]
        return self


def compare(tmp_path, packages, settings, urls, journey, files=None):
    """The same journey with both servers, each with a database of its own."""
    folder = installed(*packages)
    seen = []
    for name, serving in (("zolal", "zolal.django " + DJANGO_ALONE), ("django", DJANGO_ALONE)):
        project = Project(tmp_path / name)
        project.write("mysite/settings.py", settings)
        project.write("mysite/urls.py", urls)
        for path, text in (files or {}).items():
            project.write(path, text)
        env = {"PYTHONPATH": folder, "APPS": serving}
        status, _, stderr = project.run("migrate", "--verbosity=0", patience=300, **env)
        assert status == 0, stderr
        status, _, stderr = project.run(
            "createsuperuser",
            "--noinput",
            "--username=ann",
            "--email=a@example.com",
            DJANGO_SUPERUSER_PASSWORD="pass word",
            **env,
        )
        assert status == 0, stderr
        server = project.runserver("--noreload", "127.0.0.1:0", **env)
        try:
            assert ("Served by zolal" in server.stdout()) == (name == "zolal")
            visitor = Visitor(server.url)
            journey(visitor)
            assert "Traceback" not in server.stderr(), server.stderr()
        finally:
            server.kill()
        seen.append(visitor.seen)
    ours, theirs = seen
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our[:3] == their[:3]
        if our[3] != their[3]:
            lines = difflib.unified_diff(
                our[3].splitlines(), their[3].splitlines(), "zolal", "django"
            )
            pytest.fail(our[0] + "\n" + "\n".join(line for line in lines if line[:1] in "+-"))
    print(f"{packages[0]}: {len(ours)} answers alike")
    assert all(status < 500 for _, status, _, _ in ours)
    return ours


def test_cms(tmp_path):
    """Wagtail: a page is written and published, a picture uploaded and looked at."""
    more = 'WAGTAIL_SITE_NAME = "test"\nWAGTAILADMIN_BASE_URL = "http://localhost"\n'
    more += "DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000\nWAGTAIL_ENABLE_UPDATE_CHECK = False\n"
    more += "WAGTAILADMIN_STATIC_FILE_VERSION_STRINGS = False\n"
    names = (
        "contrib.forms contrib.redirects embeds sites users snippets documents images search admin"
    )
    apps = [f"wagtail.{name}" for name in names.split()]
    apps += ["wagtail", "modelcluster", "taggit", "home", *APPS]
    middleware = [*MIDDLEWARE, "wagtail.contrib.redirects.middleware.RedirectMiddleware"]
    settings = SETTINGS.format(apps=apps, middleware=middleware, more=more)
    urls = """\
from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
urlpatterns = [path("django-admin/", admin.site.urls), path("admin/", include(wagtailadmin_urls)),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT), path("", include(wagtail_urls))]
"""
    files = {
        "home/__init__.py": "",
        "home/models.py": """\
from django.db import models
from wagtail.admin.panels import FieldPanel
from wagtail.fields import RichTextField
from wagtail.models import Page


class HomePage(Page):
    body = RichTextField(blank=True)
    content_panels = Page.content_panels + [FieldPanel("body")]
""",
        "home/migrations/__init__.py": "",
        "home/migrations/0001_initial.py": """\
import django.db.models.deletion
import wagtail.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = [("wagtailcore", "0094_alter_page_locale")]
    operations = [migrations.CreateModel("HomePage", [
        ("page_ptr", models.OneToOneField(auto_created=True, on_delete=models.CASCADE,
            parent_link=True, primary_key=True, serialize=False, to="wagtailcore.page")),
        ("body", wagtail.fields.RichTextField(blank=True))],
        options={"abstract": False}, bases=("wagtailcore.page",))]
""",
        "home/templates/home/home_page.html": "{% load wagtailcore_tags %}<h1>{{ page.title }}</h1>"
        "{{ page.body|richtext }}",
    }
    core = installed("wagtail", "django>=5.2,<5.3") / "wagtail/migrations"
    last = max(path.stem for path in core.glob("0*.py"))
    migration = "home/migrations/0001_initial.py"
    files[migration] = files[migration].replace("0094_alter_page_locale", last)

    def journey(visitor):
        visitor.login("/admin/login/").linked()
        visitor.ask("/admin/pages/").ask("/admin/images/").ask("/admin/users/").ask(
            "/admin/nowhere/"
        )
        body = json.dumps({"blocks": [], "entityMap": {}})
        visitor.post(
            "/admin/pages/add/home/homepage/1/",
            **{"title": "A p\u00e4ge", "slug": "a-page", "body": body, "action-publish": "1"},
            **{f"comments-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")},
        )
        visitor.ask("/admin/pages/1/")
        assert "A p\u00e4ge" in visitor.body
        visitor.post(
            "/admin/images/add/",
            files={"file": ("dot.png", PNG)},
            title="dot",
            collection="1",
            tags="",
            description="",
        )
        visitor.ask("/admin/images/")
        assert "dot" in visitor.body
        visitor.linked()
        visitor.ask("/admin/reports/site-history/").ask("/admin/pages/search/?q=page").ask("/")

    seen = compare(tmp_path, ["wagtail", "django>=5.2,<5.3"], settings, urls, journey, files)
    assert len(seen) > 25


def test_api(tmp_path):
    """Django REST framework: a resource by JSON, by form, and by its browsable pages."""
    settings = SETTINGS.format(
        apps=["rest_framework", "rest_framework.authtoken", *APPS, "pages"],
        middleware=MIDDLEWARE,
        more='REST_FRAMEWORK = {"DEFAULT_PAGINATION_CLASS": '
        '"rest_framework.pagination.PageNumberPagination", "PAGE_SIZE": 3}',
    )
    urls = """\
from django.contrib import admin
from django.urls import include, path
from pages.models import Note
from rest_framework import permissions, routers, serializers, viewsets
from rest_framework.authtoken.views import obtain_auth_token


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text"]


class NoteViewSet(viewsets.ModelViewSet):
    queryset = Note.objects.order_by("pk")
    serializer_class = NoteSerializer
    permission_classes = [permissions.IsAuthenticatedOrReadOnly]


router = routers.DefaultRouter()
router.register("notes", NoteViewSet)
urlpatterns = [path("api/", include(router.urls)), path("admin/", admin.site.urls),
    path("token/", obtain_auth_token), path("auth/", include("rest_framework.urls"))]
"""

    def journey(visitor):
        kind = {"Content-Type": "application/json", "Accept": "application/json"}
        page = {"Accept": "text/html"}
        visitor.ask("/api/notes/", headers=kind)
        visitor.ask("/api/notes/", b'{"text": "x"}', kind)
        assert visitor.status in (401, 403)
        visitor.login("/auth/login/?next=/api/")
        assert visitor.status == 200
        visitor.ask("/api/", headers=page).linked()
        visitor.ask("/api/notes/", headers=page)
        kind["X-CSRFToken"] = visitor.token()
        for number in range(7):
            text = json.dumps({"text": f"n\u00f6te {number}"}).encode()
            visitor.ask("/api/notes/", text, kind)
            assert visitor.status == 201
        visitor.ask("/api/notes/?page=2", headers=kind).ask("/api/notes/?page=2", headers=page)
        visitor.ask("/api/notes/1/", b'{"text": "changed"}', kind, "PUT")
        visitor.ask("/api/notes/2/", b'{"text": "patched"}', kind, "PATCH")
        visitor.ask("/api/notes/3/", None, kind, "DELETE")
        assert visitor.status == 204
        visitor.ask("/api/notes/3/", None, kind).ask("/api/notes/", None, kind, "OPTIONS")
        visitor.ask("/api/notes/1/", None, kind, "HEAD")
        visitor.ask("/api/notes/", b'{"text": ', kind).ask("/api/notes/", b"a=b", kind)
        visitor.post("/api/notes/", text="by form")

    seen = compare(tmp_path, ["djangorestframework", "django>=5.2,<5.3"], settings, urls, journey)
    assert len(seen) > 25


def test_admin(tmp_path):
    """django-filer: folders and files, kept in and by the admin."""
    more = 'THUMBNAIL_HIGH_RESOLUTION = True\nX_FRAME_OPTIONS = "SAMEORIGIN"\n'
    settings = SETTINGS.format(
        apps=[*APPS, "easy_thumbnails", "filer", "pages"], middleware=MIDDLEWARE, more=more
    )
    urls = """\
from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path
from pages.models import Note
admin.site.register(Note)
urlpatterns = [path("admin/", admin.site.urls), path("filer/", include("filer.urls")),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)]
"""

    def journey(visitor):
        visitor.login("/admin/login/?next=/admin/").linked()
        for text in ("one", "tw\u00f6", "three"):
            visitor.post("/admin/pages/note/add/", text=text)
        visitor.ask("/admin/pages/note/?o=-1").ask("/admin/pages/note/1/change/").linked()
        visitor.post("/admin/pages/note/1/change/", text="changed", _continue="1")
        visitor.ask("/admin/pages/note/1/history/").ask("/admin/jsi18n/")
        visitor.post("/admin/pages/note/2/delete/", post="yes")
        visitor.post("/admin/auth/user/add/", username="bob", password1="x", password2="y")
        visitor.post("/admin/auth/group/add/", name="editors")
        visitor.ask("/admin/filer/folder/").ask(visitor.location or "/admin/filer/folder/").linked()
        visitor.post("/admin/filer/folder/make_folder/", name="pictures")
        visitor.post(
            "/admin/filer/clipboard/operations/upload/no_folder/",
            referrer="/admin/filer/folder/make_folder/",
            files={"file": ("dot.png", PNG)},
        )
        assert "dot.png" in visitor.body
        visitor.ask("/admin/filer/image/1/change/").linked()
        visitor.ask("/admin/filer/folder/unfiled_images/").ask("/admin/filer/folder/1/list/")
        visitor.post("/admin/logout/", referrer="/admin/")
        visitor.ask("/admin/filer/folder/")
        assert visitor.status == 302

    seen = compare(tmp_path, ["django-filer", "django>=5.2,<5.3"], settings, urls, journey)
    assert len(seen) > 40
