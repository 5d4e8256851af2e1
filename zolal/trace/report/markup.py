"""HTML and SVG, made of elements: what is not markup already is escaped, so that nothing which came
from a recording can become any."""

from __future__ import annotations

from html import escape

from zolal.xray.render import plain


class Markup(str):
    """Text that is markup: it stands in a page as it is."""

    __slots__ = ()


VOID = frozenset(["br", "meta", "rect", "line", "circle", "path"])


def text(value: object) -> Markup:
    """Escaped, its control characters too; markup as it is."""
    if isinstance(value, Markup):
        return value
    lines = str(value).split("\n")
    return Markup("\n".join(escape(plain(line)) for line in lines))


def join(*inside: object) -> Markup:
    """One after the other; None is nothing."""
    return Markup("".join(text(each) for each in inside if each is not None))


def tag(name: str, /, *inside: object, **attributes: object) -> Markup:
    """An element. Of attributes' names a "_" at the end goes, and others become "-"; those that are
    None or False are left out, of those that are True the name stands alone."""
    head = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        head += f" {key.rstrip('_').replace('_', '-')}"
        head += "" if value is True else f'="{text(value)}"'
    if name in VOID:
        return Markup(f"<{head}/>")
    return Markup(f"<{head}>{join(*inside)}</{name}>")
