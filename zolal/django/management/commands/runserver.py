"""manage.py runserver, on zolal."""

from __future__ import annotations

from zolal.django.command import RunOnZolal
from zolal.django.order import next_command


class Command(RunOnZolal, next_command()):  # type: ignore[misc]
    pass
