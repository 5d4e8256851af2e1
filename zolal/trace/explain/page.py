"""What is told of the servers, as headings, words, tables and trees: views.py shows it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.tree import Tree

from zolal.trace.connections import WAITS
from zolal.trace.explain import measure
from zolal.trace.explain.servers import ASYNCIO, RUNSERVER, WSGIREF
from zolal.trace.model import Call
from zolal.trace.tree import Line, add_nodes, weave

if TYPE_CHECKING:
    from zolal.trace.explain.measure import Story
    from zolal.trace.explain.servers import Server


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Words:
    """A paragraph; names of functions and calls are in backticks."""

    text: str


@dataclass(frozen=True)
class Table:
    """`is_numbers`: all columns but the first are."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_numbers: bool = False


Block = Heading | Words | Table | Tree

ABOUT = (
    "A browser asks for a page, and an application answers. What lies between them is here: the "
    "same hello through servers that many know, each as the lines of Python that ran and the calls "
    "of the kernel that they made, from a recording of a real run. Read one from the top: a line "
    "with `>` is functions that call one another, and where the last of them stands; below it is "
    "what it asked the kernel for, with the answer. All of them do the same few things (make a "
    "socket listen, accept, receive, send, close). What differs is who does them, and what is done "
    "besides."
)
HOW = (
    "How it was counted: each server is a process of its own on 127.0.0.1, its requests come one "
    "at a time, each over a new connection that is closed after it. Kernel calls are those on "
    f"sockets and what waits for them, all that the serving process makes for one request, the "
    f"simplest kind of {measure.RECORDED} that were recorded (a client whose bytes come late makes "
    "others). A wait in which nobody "
    "came is left out. Calls of Python are those of its functions, not of C's. Times and context "
    f"switches are averages of {measure.MEASURED} requests that were not recorded, warmed up "
    "before: CPU is that of the serving process, the client's time (its median) is from connect to "
    "the end of the answer, measured by a client in Python that has its share in it."
)
STAGES = (
    ("listens", ("listen",)),
    ("waits for a client", tuple(sorted(WAITS))),
    ("takes it", ("accept", "accept4")),
    ("receives", ("recvfrom", "read", "recvmsg")),
    ("answers", ("sendto", "write", "sendmsg")),
    ("ends", ("close",)),
)
NEAREST = 6  # functions of a chain that are named beside another


def counts(stories: Sequence[Story]) -> Table:
    """By server: kernel calls by their names, calls of Python, and what these cost."""
    names = dict.fromkeys(call.name for story in stories for call in story.request.calls)
    rows = [["kernel calls", *(str(len(story.request.calls)) for story in stories)]]
    rows += [[f"`{name}`", *(str(story.count(name) or "") for story in stories)] for name in names]
    python = [story.python_calls for story in stories]
    rows.append(["calls of Python", *("-" if each is None else f"{each:.0f}" for each in python)])
    threads = [len({call.tid for call in story.request.calls}) for story in stories]
    rows.append(["threads", *map(str, threads)])
    costs = [story.cost for story in stories]
    rows.append(["context switches, to wait", *(f"{cost.waits:.1f}" for cost in costs)])
    rows.append(["context switches, forced", *(f"{cost.preemptions:.1f}" for cost in costs)])
    rows.append(["CPU, µs", *(f"{cost.cpu_ns / 1000:.0f}" for cost in costs)])
    rows.append(["the client's time, µs", *(f"{cost.client_ns / 1000:.0f}" for cost in costs)])
    return Table(["one request", *(story.server.name for story in stories)], rows, True)


def _without_marks(nodes: list[Line | Call]) -> list[Line | Call]:
    """Less the calls without a name, which stand for a line."""
    for node in nodes:
        if isinstance(node, Line):
            node.inside = _without_marks(node.inside)
    return [node for node in nodes if isinstance(node, Line) or node.name]


def tree(title: str, calls: Sequence[Call]) -> Tree:
    root = Tree(title)
    add_nodes(root, _without_marks(weave(calls)))
    return root


def request_tree(story: Story) -> Tree:
    calls = list(story.request.calls)
    if mark := measure.mark_application(story.request):
        later = (at for at, call in enumerate(calls) if call.begin_ns > mark.begin_ns)
        calls.insert(next((at for at in later if calls[at].tid == mark.tid), len(calls)), mark)
    return tree("one request", calls)


def chain(story: Story, names: Sequence[str]) -> str:
    """ "`serve_forever` > `select`: `poll`": the functions that lead to the first of these calls,
    from an anchor of the server on; "": it makes none."""
    calls = [call for call in (*story.start, *story.request.calls) if call.name in names]
    if not calls:
        return ""
    frames = calls[0].stack
    # Python 3.10 knows no classes.
    known = [name for each in story.server.anchors for name in (each, each.rpartition(".")[2])]
    functions = [frame.function for frame in frames]
    begin = next((functions.index(name) for name in known if name in functions), -3)
    shown = [f"({frame.function})" if frame.awaits else frame.function for frame in frames[begin:]]
    if len(shown) > NEAREST:
        shown[2:-2] = ["..."]
    return " > ".join(shown) + f": `{calls[0].name}`"


def beside(thread: Story, task: Story) -> Iterator[Block]:
    """A server that has a thread for each connection, and one that has a task."""
    yield Heading("serve_forever and listen_for_connection")
    rows = [[stage, chain(thread, names), chain(task, names)] for stage, names in STAGES]
    yield Table(["", thread.server.name, task.server.name], rows)
    text = (
        "`serve_forever` is to a thread what `listen_for_connection` is to a task: a loop that "
        "waits for a client, takes it with `accept4`, and leaves it to somebody else"
    )
    if thread.server.name == WSGIREF.name:
        text += " (in runserver, with `ThreadingMixIn`; wsgiref's serves it itself)"
    text += (
        ". A thread that has nothing to do waits in the kernel, each in a call of its own. A task "
        "that has nothing to do waits nowhere: it is an object of Python that the loop keeps, and "
        "there is one wait for all. That is what the loop's own calls of Python buy."
    )
    yield Words(text)


def left_out(missing: Sequence[Server]) -> Iterator[Block]:
    for server in missing:
        yield Words(
            f"Left out: {server.name}, since {server.package} is not installed "
            f"(pip install {server.package})."
        )


def versions(stories: Sequence[Story]) -> str:
    ours = f"{platform.python_implementation()} {platform.python_version()}"
    found = [story.server.version for story in stories]
    linux = ".".join(platform.release().split(".")[:2])
    return ", ".join(dict.fromkeys([ours, *found])) + f", Linux {linux}"


def page(stories: Sequence[Story], missing: Sequence[Server]) -> Iterator[Block]:
    yield Words(ABOUT)
    yield Words(f"Made with {versions(stories)}.")
    yield from left_out(missing)
    yield Heading("The counts")
    yield counts(stories)
    yield Words(HOW)
    for story in stories:
        numbers = {call: story.count(call) for call in ("sendto", "epoll_wait")}
        yield Heading(story.server.title)
        yield Words(f"{story.server.version}; {story.server.settings}.")
        yield tree("the start", story.start)
        yield request_tree(story)
        yield Words(story.server.words.format(**numbers))
    by_name = {story.server.name: story for story in stories}
    thread = by_name.get(RUNSERVER.name) or by_name.get(WSGIREF.name)
    if thread and ASYNCIO.name in by_name:
        yield from beside(thread, by_name[ASYNCIO.name])
