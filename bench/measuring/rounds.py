"""Rounds: every candidate once in each, in rotated or random order, so that a noisy neighbour
disturbs all of them alike; ratios are taken within a round."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def cores() -> tuple[int | None, int | None]:
    """A core for the server and another for the load; None, None where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def rotated(items: list[Item], rounds: int) -> Iterator[Item]:
    for number in range(rounds):
        turn = number % len(items)
        yield from items[turn:] + items[:turn]


def shuffled(items: list[Item], rounds: int, seed: int = 1) -> Iterator[Item]:
    """In an order of chance in each round, the same in every run."""
    chance = random.Random(seed)
    for _ in range(rounds):
        yield from chance.sample(items, len(items))


def ratios(own: Sequence[float | None], other: Sequence[float | None]) -> list[float]:
    """One over the other, in each round that has both."""
    return [one / two for one, two in zip(own, other, strict=False) if one and two and two > 0]


def median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def spread(values: list[float], digits: int = 2) -> str:
    """ "1.12 (1.10..1.20)": median, least, most."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}..{max(values):.{digits}f})"
