#!/usr/bin/env python3
"""Would the explorer see it? Each statement of src/server/lead.c is left out, each condition made
always true or always false, each part of one without effect, each constant answer turned round; of
every such copy the explorer must say that it is wrong. Those that are right all the same are in
EQUIVALENT, with the reason.

    mutants.py SOURCE_ROOT COMPILER...
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

FLAGS = ["-std=gnu11", "-Og", "-w", "-D_GNU_SOURCE", "-U_FORTIFY_SOURCE"]
EXPLORER = ["explore.c", "lead_model.c", "lead.c"]
PATIENCE_S = 60

# (function, what was done): why it changes nothing that the explorer holds lead.c to.
EQUIVALENT: dict[tuple[str, str], str] = {
    ("lead_thread_init", "list_init(&thread->node);"): "list_prepend sets both ends",
    ("lead_call_begin", "if (!lead->watched) {  always 1"): "the keeper is woken more often",
    (
        "lead_init",
        "lead_set_leader(lead, &lead->keeper)  is  lead->leader = &lead->keeper",
    ): "the clock is read in calls only, and the keeper makes none",
    (
        "lead_look_once",
        "sight->looks < LEAD_QUIET_LOOKS ? LEAD_FINE : LEAD_QUIET  is  LEAD_QUIET",
    ): "the keeper sleeps sooner, and the next call wakes it",
}

# What no rule below makes: (function, text, instead of it).
BY_HAND = [
    ("lead_pick", "list_pop(&lead->idle)", "(lead_has_idle(lead) ? lead->idle.next : NULL)"),
    ("lead_change", "next = &lead->keeper", "next = lead->leader"),
    ("lead_change", "*next = lead_pick(lead)", "*next = NULL"),
    ("lead_look_once", "sight->looks < LEAD_QUIET_LOOKS ? LEAD_FINE : LEAD_QUIET", "LEAD_FINE"),
    ("lead_look_once", "sight->looks < LEAD_QUIET_LOOKS ? LEAD_FINE : LEAD_QUIET", "LEAD_QUIET"),
    ("lead_look_once", "sight->looks == 1 ? LEAD_LATE : LEAD_FINE", "LEAD_FINE"),
    ("lead_look_once", "sight->looks == 1 ? LEAD_LATE : LEAD_FINE", "LEAD_LATE"),
    ("lead_init", "lead_set_leader(lead, &lead->keeper)", "lead->leader = &lead->keeper"),
    ("lead_rest", "lead_gate_wait(gate, end_ns)", "lead_gate_wait(gate, LEAD_FOR_EVER)"),
    ("lead_join", "gate, end_ns", "gate, lead_now_ns() + timeout_ns"),
]


class Mutant(NamedTuple):
    function: str
    what: str
    source: str


def operands(condition: str) -> Iterator[tuple[int, int, str]]:
    """Where each operand of a top-level && or || lies, and what makes it of no effect."""
    depth, begin, found = 0, 0, []
    for at, sign in enumerate(condition):
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and condition[at : at + 2] in ("&&", "||"):
            found.append((begin, at, condition[at : at + 2]))
            begin = at + 2
    if found:
        found.append((begin, len(condition), found[-1][2]))
    for start, end, sign in found:
        yield start, end, " 1 " if sign == "&&" else " 0 "


def condition_of(line: str) -> tuple[int, int] | None:
    """Where the condition of an if or a while lies in the line."""
    start = re.search(r"\b(if|while) \(", line)
    if not start:
        return None
    depth = 1
    for at in range(start.end(), len(line)):
        depth += (line[at] == "(") - (line[at] == ")")
        if depth == 0:
            return start.end(), at
    return None


def changes_of_line(line: str) -> Iterator[tuple[str, str]]:
    """(what is done, the line then)"""
    text = line.strip()
    found = condition_of(line)
    if found:
        start, end = found
        condition = line[start:end]
        for value in "1", "0":
            yield f"{text}  always {value}", f"{line[:start]}{value}{line[end:]}"
        for first, last, neutral in operands(condition):
            changed = condition[:first] + neutral + condition[last:]
            without = condition[first:last].strip()
            yield f"{text}  without {without}", line[:start] + changed + line[end:]
    elif re.match(r"return (true|false);", text):
        other = {"true": "false", "false": "true"}
        yield text, re.sub(r"true|false", lambda word: other[word[0]], line)
    elif text.startswith("return ") and "&&" in text:
        begin = line.index("return ") + len("return ")
        expression = line[begin:].rstrip(";")
        for first, last, neutral in operands(expression):
            changed = expression[:first] + neutral + expression[last:]
            without = expression[first:last].strip()
            yield f"{text}  without {without}", f"{line[:begin]}{changed};"
    elif re.match(r"(\*?[a-z_]+(->|\.)?[a-z_]*(->[a-z_]+)*(\(.*\)| = .*|\+\+|--));", text):
        yield text, ";"
    elif text in ("return;", "break;"):
        yield text, ";"


def mutants(source: str) -> Iterator[Mutant]:
    lines = source.split("\n")
    function, counts = "", collections.Counter()
    for number, line in enumerate(lines):
        if re.match(r"[a-z].*\)$", line):
            function = re.search(r"(\w+)\(", line)[1]
        if not line.startswith("    "):
            continue
        for what, changed in changes_of_line(line):
            counts[function, what] += 1
            if counts[function, what] > 1:
                what += f" (number {counts[function, what]})"
            yield Mutant(
                function, what, "\n".join([*lines[:number], changed, *lines[number + 1 :]])
            )
    for function, old, new in BY_HAND:
        begin = re.search(rf"^[a-z].*\b{function}\(.*\)\n{{", source, re.M).start()
        end = source.index("\n}\n", begin)
        body = source[begin:end]
        if body.count(old) != 1:
            sys.exit(f"BY_HAND: {function} has not one {old}")
        yield Mutant(
            function, f"{old}  is  {new}", source[:begin] + body.replace(old, new) + source[end:]
        )


def build(source: pathlib.Path, folder: pathlib.Path, command: list[str]) -> None:
    target = folder / source.with_suffix(".o").name
    subprocess.run([*command, *FLAGS, "-c", source, "-o", target], check=True)


def verdict(mutant: Mutant, folder: pathlib.Path, command: list[str]) -> str:
    """Empty: the explorer found nothing wrong."""
    folder.mkdir()
    (folder / "mutant.c").write_text(mutant.source)
    build(folder / "mutant.c", folder, command)
    objects = [folder.parent / name.replace(".c", ".o") for name in EXPLORER]
    subprocess.run([*command, folder / "mutant.o", *objects, "-o", folder / "explore"], check=True)
    try:
        done = subprocess.run(
            [folder / "explore"], capture_output=True, text=True, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return "UNDECIDED: it takes too long"
    if done.returncode == 2:
        return "UNDECIDED: too many states"
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    lines = done.stdout.splitlines() or ["no word"]
    wrong = [line for line in lines if line.endswith(":")]
    return (wrong or lines[-1:])[0].rstrip(":") if done.returncode else ""


def main() -> int:
    root, compiler = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    here = root / "tests/explore"
    command = [*compiler, f"-I{here}/system", f"-I{here}", f"-I{root}/src"]
    source = (root / "src/server/lead.c").read_text()
    bad, seen = 0, set()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in EXPLORER:
            build(here / name, folder, command)
        everything = list(mutants(source))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            verdicts = pool.map(
                lambda pair: verdict(pair[1], folder / str(pair[0]), command),
                enumerate(everything),
            )
            for mutant, found in zip(everything, verdicts, strict=True):
                key = (mutant.function, mutant.what)
                reason = EQUIVALENT.get(key)
                seen.add(key)
                if found and reason is None and not found.startswith("UNDECIDED"):
                    print(f"ok      {mutant.function}: {mutant.what}: {found}")
                elif not found and reason is not None:
                    print(f"same    {mutant.function}: {mutant.what}: {reason}")
                else:
                    bad += 1
                    print(f"NOT OK  {mutant.function}: {mutant.what}: {found or 'not seen'}")
    for key in EQUIVALENT.keys() - seen:
        bad += 1
        print(f"NOT OK  {key[0]}: {key[1]}: is in EQUIVALENT, not in lead.c")
    print(f"{len(everything)} mutants, {len(EQUIVALENT)} equivalent, {bad} not as they must be")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
