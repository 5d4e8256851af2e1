"""Django projects, made for a test and ended with it."""

import pytest

pytest.importorskip("django")

from projects import Project  # noqa: E402


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    try:
        yield project
    finally:
        project.end()
