"""Django's own tests of what serves: runserver, `servers`, the live server test cases; with zolal's
classes in the place of Django's.

    run_django.py [--defect] [--standard] [--browser] [--json FILE] VERSION [LABEL]...

VERSION: "4.2", "5.2", "newest". The tests are those of the source distribution on PyPI, which pip
downloads, once, into build/upstream; the Django under test is the one in it. A test counts as
passed only if zolal's calls are in the recording during it: kernel calls, or the calls of
zolal.django's command where it is the command that is tested. What does not apply and what is known
to differ stands in django_exceptions.py, each with its reason. `--defect`: what zolal sends lacks a
byte now and then, which must turn the run red. `--standard`: Django's classes are left as they are,
and nothing may count as passed. `--browser`: those tests, too, that drive a real Chromium (Debian's
chromium and chromium-driver, Selenium from PyPI): most of them click through the admin.

Prints a row a class; exits 0 when all passed, 1 when not, 77 where this version cannot be had."""

import argparse
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import types
import unittest

import django_exceptions
from proof import Result, name_of, reason_for, report, settle, tests_of

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / "upstream"
CANNOT_BE_HAD = 77
RECORDING_SIZE = 64 << 20

# The lowest Python that pip takes the version for is Django's to say.
VERSIONS = {"4.2": "==4.2.*", "5.2": "==5.2.*", "newest": ">=6"}

LABELS = (
    "servers",
    "staticfiles_tests.test_liveserver",
    "staticfiles_tests.test_management.TestRunserver",
    "admin_scripts.tests.ManageRunserver",
    "admin_scripts.tests.ManageRunserverMigrationWarning",
    "admin_scripts.tests.ManageRunserverEmptyAllowedHosts",
    "admin_scripts.tests.ManageRunserverHelpOutput",
    "file_storage.tests.FileLikeObjectTestCase",
)

WITH_A_BROWSER = (
    "admin_changelist.tests",
    "admin_inlines.tests",
    "admin_views",
    "admin_widgets.tests",
    "forms_tests.tests.test_widgets",
    "forms_tests.field_tests.test_floatfield",
    "view_tests.tests.test_i18n",
)
"""Modules with tests that drive a browser; of them, only these tests."""

SETTINGS = """\
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"},
             "other": {"ENGINE": "django.db.backends.sqlite3"}}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
"""

LOSES_A_BYTE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>
/* Calls from zolal's extension lose the last byte of what is sent, but say that it was sent. */
static int is_zolals(void *caller)
{
    Dl_info info;
    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "_zolal.") != NULL;
}
ssize_t send(int fd, const void *data, size_t len, int flags)
{
    ssize_t (*next)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    int lose = is_zolals(__builtin_return_address(0)) && len > 1;
    ssize_t n = next(fd, data, len - lose, flags);
    return n < 0 ? n : n + lose;
}
ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,
               socklen_t size)
{
    ssize_t (*next)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) =
        dlsym(RTLD_NEXT, "sendto");
    int lose = is_zolals(__builtin_return_address(0)) && len > 1;
    ssize_t n = next(fd, data, len - lose, flags, addr, size);
    return n < 0 ? n : n + lose;
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t (*next)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    if (!is_zolals(__builtin_return_address(0)) || message->msg_iovlen == 0)
        return next(fd, message, flags);
    struct iovec *last = &message->msg_iov[message->msg_iovlen - 1];
    int lose = last->iov_len > 1;
    last->iov_len -= (size_t)lose;
    ssize_t n = next(fd, message, flags);
    last->iov_len += (size_t)lose;
    return n < 0 ? n : n + lose;
}
"""


def source(version):
    """The folder of the source distribution, or None where pip does not have it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    pattern = f"[dD]jango-{'[6-9]*' if version == 'newest' else version + '*'}"
    if not list(CACHE.glob(pattern + ".tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", str(CACHE), f"django{VERSIONS[version]}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"Python {minor} has no Django {version} from pip: {done.stderr[-300:]}")
            return None
    archive = max(CACHE.glob(pattern + ".tar.gz"), key=_number)
    needs = re.search(r"requires-python = \">= ?3\.(\d+)\"", _read(archive, "pyproject.toml"))
    if needs and int(needs[1]) > sys.version_info[1]:
        print(f"Django {version} needs Python 3.{needs[1]}, this is {minor}")
        return None
    folder = CACHE / archive.name.removesuffix(".tar.gz")
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary, tarfile.open(archive) as tar:
            safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(temporary, **safely)
            try:
                os.rename(pathlib.Path(temporary) / folder.name, folder)
            except OSError:
                pass  # another run was first
    return folder


def _number(path):
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _read(archive, name):
    with tarfile.open(archive) as tar:
        folder = archive.name.removesuffix(".tar.gz")
        try:
            return tar.extractfile(f"{folder}/{name}").read().decode()
        except KeyError:
            return ""


def with_defect(arguments):
    """This program again, where zolal's sends lose a byte. Returns its exit status."""
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        (folder / "loses.c").write_text(LOSES_A_BYTE)
        library = folder / "loses.so"
        command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(folder / "loses.c"), "-ldl"]
        subprocess.run(command, check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        return subprocess.run([sys.executable, __file__, *arguments], env=environment).returncode
    finally:
        shutil.rmtree(folder)


def put_servers_in_place():
    """Before anything has imported them by name."""
    import django.core.servers.basehttp as theirs

    import zolal.basehttp as ours

    for name in ("WSGIServer", "ThreadedWSGIServer", "ServerHandler", "WSGIRequestHandler", "run"):
        setattr(theirs, name, getattr(ours, name))


def put_commands_in_place():
    """When the apps are ready. Each `runserver` becomes one that zolal.django makes of it."""
    from zolal.django.command import RunOnZolal

    names = ("django.core", "django.contrib.staticfiles")
    found = [importlib.import_module(f"{name}.management.commands.runserver") for name in names]
    for module in found:
        own = {"__module__": module.__name__}
        module.Command = type("Command", (RunOnZolal, module.Command), own)


def with_chromium():
    """Django's selenium tests run, on Debian's Chromium; as root it has no sandbox, and what 4.2
    does to have no window is nothing to today's Selenium."""
    from django.test.selenium import SeleniumTestCaseBase
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support import expected_conditions

    staleness_of = expected_conditions.staleness_of

    def staleness_while_it_is_left(element):
        """The driver has an error of its own for a page that is just being left."""
        is_stale = staleness_of(element)

        def found(driver):
            try:
                return is_stale(driver)
            except WebDriverException as error:
                if "does not belong to the document" not in str(error.msg):
                    raise
                return True

        return found

    expected_conditions.staleness_of = staleness_while_it_is_left

    create_options = SeleniumTestCaseBase.create_options

    def create_our_options(cls):
        options = create_options(cls)
        options.binary_location = shutil.which("chromium")
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
        ):
            options.add_argument(argument)
        return options

    def create_webdriver(cls):
        service = Service(shutil.which("chromedriver"))
        return cls.import_webdriver("chrome")(options=cls.create_options(), service=service)

    SeleniumTestCaseBase.browsers = ["chrome"]
    SeleniumTestCaseBase.create_options = create_our_options
    SeleniumTestCaseBase.create_webdriver = create_webdriver


def needs_a_browser(test):
    return "selenium" in getattr(test, "tags", ())


def run(folder, labels, standard, browser, not_applicable):
    """The result, and the names of tests that do not apply with the reason of each."""
    from zolal import _zolal

    sys.path[:0] = [str(folder / "tests"), str(folder)]
    settings = types.ModuleType("zolal_test_settings")
    exec(SETTINGS, vars(settings))
    sys.modules[settings.__name__] = settings
    os.environ["DJANGO_SETTINGS_MODULE"] = settings.__name__
    if not standard:
        put_servers_in_place()
    if browser:
        with_chromium()
    import runtests
    from django.test import SimpleTestCase
    from django.test.runner import DiscoverRunner

    reader = _zolal.Reader(_zolal.recording_start(RECORDING_SIZE))
    result, apart = Result(reader, ("call", "python_enter")), {}
    set_up_class = SimpleTestCase.setUpClass.__func__

    def set_up_class_alone(cls):
        result.drain()  # what the class before has left is not this one's
        set_up_class(cls)

    SimpleTestCase.setUpClass = classmethod(set_up_class_alone)

    class Runner(DiscoverRunner):
        def get_resultclass(self):
            return None

        def build_suite(self, *arguments, **keywords):
            if not standard:
                put_commands_in_place()
            suite = super().build_suite(*arguments, **keywords)
            chosen = []
            for test in tests_of(suite):
                module = type(test).__module__
                if module.startswith(WITH_A_BROWSER) and not needs_a_browser(test):
                    continue
                if reason := reason_for(name_of(test), not_applicable):
                    apart[name_of(test)] = reason
                else:
                    chosen.append(test)
            return unittest.TestSuite(chosen)

        def run_suite(self, suite, **keywords):
            suite.run(result)
            return result

        def suite_result(self, suite, result, **keywords):
            return 0

    settings.TEST_RUNNER = "runner_of_zolal.Runner"
    sys.modules["runner_of_zolal"] = module = types.ModuleType("runner_of_zolal")
    module.Runner = Runner
    os.chdir(folder / "tests")
    temporary = tempfile.mkdtemp(prefix="django_")
    tempfile.tempdir = os.environ["TMPDIR"] = temporary
    runtests.django_tests(
        verbosity=0,
        interactive=False,
        failfast=False,
        keepdb=False,
        reverse=False,
        test_labels=list(labels),
        debug_sql=False,
        parallel=1,
        tags=None,
        exclude_tags=None if browser else ["selenium"],
        test_name_patterns=None,
        start_at=None,
        start_after=None,
        pdb=False,
        buffer=False,
        timing=False,
        shuffle=None,
    )
    _zolal.recording_stop()
    shutil.rmtree(temporary, ignore_errors=True)
    return result, apart


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--defect", action="store_true")
    parser.add_argument("--standard", action="store_true")
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("version", choices=VERSIONS)
    parser.add_argument("labels", nargs="*")
    options = parser.parse_args()
    if options.defect:
        return with_defect([argument for argument in sys.argv[1:] if argument != "--defect"])
    folder = source(options.version)
    if folder is None:
        return CANNOT_BE_HAD
    json_file = options.json and os.path.abspath(options.json)
    labels = options.labels or LABELS + (WITH_A_BROWSER if options.browser else ())
    not_applicable = {
        **django_exceptions.NOT_APPLICABLE,
        **django_exceptions.NOT_APPLICABLE_IN.get(options.version, {}),
    }
    result, apart = run(folder, labels, options.standard, options.browser, not_applicable)
    settle(result, django_exceptions.DIFFERENT)
    for name, (outcome, why) in result.outcomes.items():
        if outcome == "skipped":
            print(f"skipped {name}: {why}")
    return report(result, apart, ("passed", "failed", "expected", "skipped"), json_file)


if __name__ == "__main__":
    sys.exit(main())
