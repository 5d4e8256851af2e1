"""Builds of the server that differ from the shipped one by an ablation's edits."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

from measuring.ablations import ABLATIONS, Ablation, Edit
from measuring.candidates import APPS, BIN, ROOT, Candidate, Missing, zolal

FOLDER = ROOT / "build" / "ablation"
# What `pip install` gives meson.
RELEASE = ["-Dbuildtype=release", "-Db_ndebug=if-release"]
SOURCES = ("src", "zolal", "meson.build", "meson.options")
Texts = dict[str, bytes]


def named(name: str) -> Ablation:
    return next(one for one in ABLATIONS if one.name == name)


def all_edits(ablation: Ablation) -> tuple[Edit, ...]:
    return (*(named(ablation.over).edits if ablation.over else ()), *ablation.edits)


def sources() -> Texts:
    found: Texts = {}
    for name in SOURCES:
        top = ROOT / name
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                found[str(path.relative_to(ROOT))] = path.read_bytes()
    return found


def edited(texts: Texts, edits: tuple[Edit, ...]) -> Texts:
    texts = dict(texts)
    for file, find, instead in edits:
        text = texts[f"src/{file}"].decode()
        if text.count(find) != 1:
            raise Missing(f"src/{file} has this text {text.count(find)} times, not once: {find}")
        texts[f"src/{file}"] = text.replace(find, instead).encode()
    return texts


def fingerprint(texts: Texts) -> str:
    found = hashlib.sha256(sys.version.encode())
    for name in sorted(texts):
        found.update(name.encode() + b"\0" + texts[name] + b"\0")
    return found.hexdigest()


def write_tree(tree: pathlib.Path, texts: Texts) -> None:
    """Only what differs is written, so that only that is compiled again."""
    for path in (tree / "src").rglob("*"):
        if path.is_file() and str(path.relative_to(tree)) not in texts:
            path.unlink()
    for name, text in texts.items():
        path = tree / name
        if not path.exists() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)


def run(command: list[str]) -> None:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise Missing("\n".join([f"{' '.join(command)} failed:", *lines[-20:]]))


def build(name: str, edits: tuple[Edit, ...]) -> pathlib.Path:
    """The folder to put on PYTHONPATH: it holds the package, built with these edits. One tree is
    compiled for all of them, one after the other."""
    texts = edited(sources(), edits)
    site, tree = FOLDER / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), FOLDER / ".tree"
    stamp = site / "stamp"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == fingerprint(texts):
            return site
        write_tree(tree, texts)
        objects = tree / "build-{}.{}".format(*sys.version_info)
        if not (objects / "build.ninja").exists():
            run([str(BIN / "meson"), "setup", str(objects), str(tree), *RELEASE])
        run([str(BIN / "ninja"), "-C", str(objects)])
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(tree / "zolal", site / "zolal")
        for extension in (objects / "src" / "python").glob("_zolal.*.so"):
            shutil.copy(extension, site / "zolal")
        stamp.write_text(fingerprint(texts))
    return site


def candidate(title: str, name: str, edits: tuple[Edit, ...], options: str = "") -> Candidate:
    made = zolal(f"zolal {options}")
    made.name = title
    made.env = {"PYTHONPATH": f"{build(name, edits)}:{APPS}"}
    return made


def shipped(title: str) -> Candidate:
    return candidate(title, "shipped", ())


def of(ablation: Ablation) -> Candidate:
    edits = all_edits(ablation)
    return candidate(
        ablation.title(), ablation.name if edits else "shipped", edits, ablation.options
    )


# ------------------------------------------------------------------------------------------- lines


def function_lines(text: str, name: str) -> list[str]:
    """From a function's first line to its closing brace."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if re.match(rf"[a-z_].*\b{name}\(", line):
            rest = lines[at:]
            opening = next(i for i, line in enumerate(rest) if line == "{" or line.endswith(";"))
            if rest[opening] == "{":
                return rest[: rest.index("}") + 1]
    raise Missing(f"there is no function {name}")


def code_lines(ablation: Ablation, texts: Texts) -> int:
    """Lines of code, without blank ones and comments, of the functions and files that the ablated
    thing has to itself, and those within others that were counted by hand."""
    total = ablation.loose
    for place in ablation.code:
        file, _, function = place.partition(":")
        text = re.sub(r"/\*.*?\*/", "", texts[f"src/{file}"].decode(), flags=re.S)
        lines = function_lines(text, function) if function else text.splitlines()
        total += sum(bool(line.strip()) for line in lines)
    return total
