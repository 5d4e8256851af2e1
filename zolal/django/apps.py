"""What Django is told about the app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from zolal.django.order import check_order


class ZolalConfig(AppConfig):  # type: ignore[misc]
    name = "zolal.django"
    label = "zolal"
    verbose_name = "zolal"

    def ready(self) -> None:
        checks.register(check_order)
