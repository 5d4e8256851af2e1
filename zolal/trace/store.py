"""Where recordings of `zolal trace` lie: a folder while the program runs, one file of it for good.

The folder has `trace.json` (what was traced), `shared` (what its processes share: the struct
recording_shared of src/trace/recording.h) and PID.N.trace for the N-th program of process PID. The
file is a tar(5) archive of trace.json and of the recordings without their holes."""

from __future__ import annotations

import errno
import json
import os
import struct
import time

from zolal._zolal import Reader

TYPE_CHECKING = False  # what is imported here is in the time that a program takes to start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ABOUT = "trace.json"
FORMAT = 1
SHARED = struct.Struct("=qII")


class StoreError(Exception):
    """What is no recording, or cannot be kept."""


def _places() -> list[str]:
    """Where recordings may lie, the best first: in memory, in the user's own folder if there is
    one. A disk is for what memory has no room for, as in containers: it may keep a program waiting.
    Root's programs may become other users, who could not reach what is root's own."""
    is_root = os.geteuid() == 0
    own = os.environ.get("XDG_RUNTIME_DIR", "") if not is_root else ""
    if not (os.path.isdir(own) and os.stat(own).st_uid == os.geteuid()):
        own = ""
    temporary = os.environ.get("TMPDIR", "") if not is_root else ""
    return [own, "/dev/shm", temporary or "/tmp", "/var/tmp"]


def _room(place: str) -> int:
    """The bytes that recordings may take there: half of what is free, the rest is for others."""
    if not os.path.isabs(place) or not os.access(place, os.W_OK | os.X_OK):
        return 0
    system = os.statvfs(place)
    if system.f_blocks == 0:  # in memory, without a limit
        return 1 << 40
    return system.f_bavail * system.f_frsize // 2


def find_room(least: int) -> tuple[str, int]:
    """The first place with room for so many bytes, else that with the most, and its room."""
    found = [(place, _room(place)) for place in _places()]
    enough = [each for each in found if each[1] >= least]
    place, room = enough[0] if enough else max(found, key=lambda each: each[1])
    if room == 0:
        raise OSError(errno.ENOSPC, "no room in /dev/shm, nor where temporary files lie")
    return place, room


def make_folder(place: str) -> str:
    """A new one there, of this user's alone."""
    while True:
        path = os.path.join(place, f"zolal-trace-{os.getpid()}-{os.urandom(8).hex()}")
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        return path


class Folder:
    """A new folder for a program's recordings, of `budget` bytes together at most: less, where no
    place has room for that. `least`: so many would do. OSError where there is no room at all."""

    def __init__(self, command: list[str], budget: int, least: int = 0) -> None:
        place, room = find_room(least or budget)
        self.path = make_folder(place)
        cut_by, budget = ("", budget) if budget <= room else (place, room)
        if os.geteuid() == 0:
            # A process that gives root up may begin a recording of its own; to list the folder is
            # still not theirs.
            os.chmod(self.path, 0o1733)
        shared = os.path.join(self.path, "shared")
        with open(shared, "wb") as file:
            file.write(SHARED.pack(budget, 0, 0))
            os.fchmod(file.fileno(), 0o666 if os.geteuid() == 0 else 0o600)
        self._about: dict[str, Any] = {
            "format": FORMAT,
            "command": command,
            "began_ns": time.time_ns(),
            "budget": budget,
            "cut_by": cut_by,
        }
        self._write_about()

    def _write_about(self) -> None:
        with open(os.path.join(self.path, ABOUT), "w") as file:
            json.dump(self._about, file)

    def end(self, status: int | None) -> None:
        """The program has ended. `status`: its exit code, or -signal; None: it runs on, and is not
        traced any more."""
        with open(os.path.join(self.path, "shared"), "rb") as file:
            _, failures, failure = SHARED.unpack(file.read(SHARED.size))
        self._about |= {
            "ended_ns": time.time_ns(),
            "status": 0 if status is None else status,
            "runs_on": status is None,
            "failures": failures,
            "failure": failure,
        }
        self._write_about()

    def keep(self, path: str) -> None:
        """Make one file of it at `path`. OSError where that cannot be written."""
        import tarfile
        import tempfile

        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(os.path.join(self.path, ABOUT), ABOUT)
            for name in recordings_in(self.path):
                with tempfile.TemporaryFile(dir=self.path) as file:
                    reader = Reader(os.path.join(self.path, name))
                    reader.copy(file.fileno())
                    reader.close()
                    info = archive.gettarinfo(arcname=name, fileobj=file)
                    file.seek(0)
                    archive.addfile(info, file)

    def remove(self) -> None:
        import shutil

        shutil.rmtree(self.path, ignore_errors=True)


def recordings_in(folder: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(".trace"))


def open_store(path: str) -> tuple[dict[str, Any], Iterator[tuple[str, Reader]]]:
    """What was traced, and each recording with its name. `path`: a file that was kept, or a folder
    that was left. OSError when it cannot be read, StoreError when it is none."""
    if os.path.isdir(path):
        try:
            with open(os.path.join(path, ABOUT), "rb") as file:
                about = _about(file.read(), path)
        except FileNotFoundError:
            raise StoreError(f"{path} is not a folder of zolal trace: no {ABOUT} in it") from None
        return about, _of_folder(path)
    return _open_archive(path)


def _about(text: bytes, path: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or not isinstance(about.get("command"), list):
        raise StoreError(f"{path} is damaged: {ABOUT} in it cannot be read")
    if about.get("format") != FORMAT:
        raise StoreError(
            f"{path} is of format {about.get('format')}, this is format {FORMAT}: "
            "read it with the zolal that wrote it"
        )
    return about


def _of_folder(path: str) -> Iterator[tuple[str, Reader]]:
    for name in recordings_in(path):
        yield name, _reader(os.path.join(path, name), 0, name)


def _reader(path: str, offset: int, name: str) -> Reader:
    try:
        return Reader(path, offset)
    except ValueError as error:
        raise StoreError(f"{name}: {error}") from None


def _open_archive(path: str) -> tuple[dict[str, Any], Iterator[tuple[str, Reader]]]:
    import tarfile

    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
            first = members[0] if members and members[0].name == ABOUT else None
            file = archive.extractfile(first) if first and first.size < 1 << 24 else None
            text = file.read() if file else None
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise StoreError(f"{path} is not a recording of zolal trace: {error}") from None
    if text is None:
        raise StoreError(f"{path} is not a recording of zolal trace: no {ABOUT} in it")
    found = [(member.name, member.offset_data) for member in members[1:] if member.isreg()]
    return _about(text, path), ((name, _reader(path, offset, name)) for name, offset in found)
