"""The page on a terminal, or as Markdown."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich import box
from rich import table as rich_table
from rich.console import Console
from rich.text import Text

from zolal.trace.explain.page import Heading, Table, Words
from zolal.xray.render import UNBOUNDED

if TYPE_CHECKING:
    from rich.tree import Tree

    from zolal.trace.explain.page import Block

CODE = re.compile(r"`([^`]*)`")
WELL_READ = 100  # columns of prose on a terminal
COLUMNS = 118  # of prose in a file, and at most of a table
TITLE = """\
# A request's journey

This page is made by running what it tells of: `zolal explain --as markdown > docs/journey.md`.
"""


def _marked(text: str) -> Text:
    """What is in backticks is in colour."""
    found = Text()
    for at, part in enumerate(CODE.split(text)):
        found.append(part, style="cyan" if at % 2 else "")
    return found


def _rich_table(block: Table) -> rich_table.Table:
    shown = rich_table.Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for at, head in enumerate(block.head):
        is_number = block.is_numbers and at > 0
        shown.add_column(head, justify="right" if is_number else "left", overflow="fold")
    for row in block.rows:
        shown.add_row(*map(_marked, row))
    return shown


def print_text(console: Console, blocks: Iterable[Block]) -> None:
    for block in blocks:
        if isinstance(block, Heading):
            console.print(Text(block.text, style="bold underline"))
        elif isinstance(block, Words):
            console.print(_marked(block.text), width=min(console.width, WELL_READ))
        elif isinstance(block, Table):
            console.print(_rich_table(block), width=min(console.width, COLUMNS))
        else:
            console.print(block)
        console.print()


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _markdown_table(block: Table) -> str:
    rule = ["---", *(["---:" if block.is_numbers else "---"] * (len(block.head) - 1))]
    return "\n".join(map(_row, (block.head, rule, *block.rows)))


def _code(tree: Tree) -> str:
    file = io.StringIO()
    Console(file=file, highlight=False, markup=False, emoji=False, width=UNBOUNDED).print(tree)
    return "```\n" + "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines()) + "```"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {block.text}"
    if isinstance(block, Words):
        return textwrap.fill(block.text, COLUMNS, break_long_words=False, break_on_hyphens=False)
    return _markdown_table(block) if isinstance(block, Table) else _code(block)


def markdown(blocks: Iterable[Block]) -> str:
    return "\n".join([TITLE, *(f"{_markdown(block)}\n" for block in blocks)])
