"""What is known of a server that a test has started, and how long one waits for it."""

import os
import pathlib
import re

APPS = pathlib.Path(__file__).parent / "apps"
PATIENCE = float(os.environ.get("ZOLAL_TEST_PATIENCE", "20"))
THREADS = os.environ.get("ZOLAL_TEST_THREADS")
"""--threads of every server whose test does not say; None: as a user has it."""
SERVES = re.compile(r"serves .+? on (.*) \(pid (\d+)\)")


def parse(text):
    """The address in "http://127.0.0.1:8000" or "unix:path", as the socket module takes it."""
    if text.startswith("unix:@"):
        return "\0" + text[len("unix:@") :]
    if text.startswith("unix:"):
        return text[len("unix:") :]
    host, _, port = text.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)
