"""runserver --xray: the tree of each request, with its SQL queries."""

import re

from projects import Project

SECRET = "secret value"


def trees(server, path):
    server.get(path)
    server.wait_until(lambda: re.search(r"waiting .*\n\n", server.stdout()), "no tree")
    return server.stdout()


def test_queries_stand_under_the_line_that_asked(project):
    project.migrate()
    server = project.runserver("--noreload", "--xray", "0")
    text = trees(server, "/notes/?again=2")
    views = (project.folder / "pages/views.py").read_text().splitlines()
    line = next(n for n, text in enumerate(views, 1) if "startswith" in text)
    found = re.search(
        rf"\n(│   [├└]── notes.*), pages/views.py:{line}  1 query  .*\n"
        r"│   │   └── SQL  SELECT .* FROM pages_note WHERE .*",
        text,
    )
    assert found, text
    assert re.search(
        rf"pages/views.py:{line + 2}  2 queries, the same one 2 times  .*\n.*SQL .*\n.*SQL ", text
    )
    assert re.search(r"application .* \(SQL .* in 3 queries\)", text)


def test_values_are_not_recorded(project):
    project.migrate()
    server = project.runserver("--noreload", "--xray", "0")
    text = trees(server, "/notes/")
    assert SECRET not in text


def test_without_xray_nothing_is_printed_or_recorded(project: Project):
    project.migrate()
    server = project.runserver("--noreload", "0")
    server.get("/notes/")
    assert "SQL" not in server.stderr() + server.stdout()
    assert "calls the application" not in server.stdout() + server.stderr()
