"""A trace as a page to read: the journey from the program's start to an answered request.

The page needs nothing but itself: no network, no script. It is as long for thousands of requests as
for a few."""

from __future__ import annotations

from zolal.trace.model import Trace


def html(trace: Trace) -> str:
    """The page."""
    from zolal.trace.report.page import Page

    return Page(trace).html()
