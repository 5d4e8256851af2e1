"""What the trees are made of: kernel calls, and the Python calls that they happened in."""

from __future__ import annotations

from dataclasses import dataclass, field

from zolal._zolal import Event

SQL = "SQL "
"""How the text of a call begins that is a query of a database."""


@dataclass
class PythonCall:
    """A call between server and application, or another that Python code tells of; `children` are
    what happened inside it."""

    kind: str  # application, next, close, read, write, start_response, call
    name: str
    line: int
    begin_ns: int
    end_ns: int = 0
    raised: bool = False
    children: list[Node] = field(default_factory=list)

    @property
    def is_query(self) -> bool:
        return self.kind == "call" and self.name.startswith(SQL)

    @property
    def is_place_of_queries(self) -> bool:
        """A line of a project, which is here for the queries that it has asked for."""
        return (
            self.kind == "call"
            and bool(self.children)
            and all(isinstance(child, PythonCall) and child.is_query for child in self.children)
        )

    @property
    def ns(self) -> int:
        return max(0, self.end_ns - self.begin_ns)


Node = PythonCall | Event
