"""What run_asyncio.py does not count of CPython's test_asyncio, and why.

A key is a module, "module.Class" or "module.Class.test", from the end of the name. Names that an
interpreter's suite does not have are ignored.
"""

# Modules that are not run.
NOT_APPLICABLE = {
    "test_windows_events": "is for Windows",
    "test_windows_utils": "is for Windows",
    "test_proactor_events": "is for Windows: a proactor in the selector's place",
}

MOCKED = "looks into asyncio's own selector loop, over a mocked selector"

# Run, and they must pass; but they mean asyncio's own selector loop, so they do not count.
OWN_LOOP = {
    "test_selector_events.BaseSelectorEventLoopTests": MOCKED,
    "test_base_events.BaseLoopSockSendfileTests": "asks the class that has no sendfile of its own",
}

# Run, and they fail.
EXPECTED_FAILURES: dict[str, str] = {}

# Only in one minor version, or from one on: (first, last or None) -> what.
EXPECTED_IN: dict[tuple[int, int | None], dict[str, str]] = {}


def expected(version):
    """Those of this interpreter."""
    found = dict(EXPECTED_FAILURES)
    for (first, last), table in EXPECTED_IN.items():
        if first <= version[1] and (last is None or version[1] <= last):
            found |= table
    return found
