"""--reload: a process that holds the listeners and the watches, and starts the one that serves.

The parent listens once and passes its sockets on, so that an address stays the same and whoever
connects while there is no server waits in the kernel's queue. It imports nothing of the
application, and runs the same command line again as its child. Between the two is a *tether*, a
pair of sockets: by it the child tells which files it has imported; a byte from the parent, or the
end of the parent, whatever ended it, ends the child."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

VARIABLE = "ZOLAL_RELOADER"
"""In the child's environment until it has read it: descriptors, the tether's first."""

GRACE = 1.0
"""Seconds that running requests get when the server is replaced."""

EXITS_FOR_GOOD = (2, 3, 4)
"""zolal.cli's: the command line is wrong, and no change of a file will mend that."""

IGNORED = {"__pycache__", "node_modules", "site-packages"}
DELETED = 3  # watchfiles.Change.deleted
DEBOUNCE_MS, STEP_MS = 400, 40
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class CannotReload(Exception):
    """Why there is no reloading, and what to do."""


# ------------------------------------------------------------------------------------- the child


def imported_files() -> set[str]:
    """The files of the modules of this process, but for Python's own and zolal's."""
    own = (sysconfig.get_path("stdlib") + os.sep, os.path.dirname(__file__) + os.sep)
    found = set()
    for module in list(sys.modules.values()):
        # Not getattr(): modules that load themselves lazily would do so now.
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and (not file.startswith(own) or "site-packages" in file):
            found.add(os.path.abspath(file))
    return found


class Tether:
    """The child's end. `listeners`: the listening descriptors."""

    def __init__(self, fd: int, listeners: list[int]) -> None:
        self.fd = fd
        self.listeners = listeners
        self._stop: Callable[[], object] | None = None
        self._recording = ""
        self._told: set[str] = set()
        self._modules = 0
        threading.Thread(target=self._watch, name="zolal-tether", daemon=True).start()

    @classmethod
    def inherited(cls) -> Tether | None:
        """This process's, or None: it is not a reloader's child."""
        text = os.environ.pop(VARIABLE, "")
        if not text:
            return None
        fds = [int(word) for word in text.split(",")]
        for fd in fds:
            os.set_inheritable(fd, False)
        # The parent had them blocked, so that Ctrl-C does not fall into Python's own start.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return cls(fds[0], fds[1:])

    def records(self, path: str) -> None:
        """This process's recording, which is to go with it, however it ends."""
        self._recording = path
        self.tell(b"R" + os.fsencode(path))

    def will_serve(self, stop: Callable[[], object]) -> None:
        """From now on `stop` is how this process is ended."""
        self.tell(b"V")
        self.tell_files(imported_files())
        self._stop = stop

    def failed(self, files: Iterable[str]) -> None:
        """The application could not be loaded, for a reason that lies in its files."""
        self.tell(b"V")
        self.tell_files({*files, *imported_files()})

    def tell(self, message: bytes) -> None:
        message += b"\0"
        try:
            while message:
                message = message[os.write(self.fd, message) :]
        except OSError:
            pass  # the parent is gone; _watch() notices

    def tell_files(self, files: set[str]) -> None:
        for file in sorted(files - self._told):
            self.tell(b"F" + os.fsencode(file))
        self._told |= files

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while not poll.poll(1000):
            # Modules that are imported when they are first needed.
            if self._stop and self._modules != len(sys.modules):
                self._modules = len(sys.modules)
                self.tell_files(imported_files())
        if self._stop:
            try:
                self._stop()
            except RuntimeError:
                pass  # it ends already
            time.sleep(GRACE + 0.5)
        self._leave()

    def _leave(self) -> None:
        """The end of what does not end by itself: an import, a thread of the application."""
        if self._recording:
            try:
                os.unlink(self._recording)
            except OSError:
                pass
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        os._exit(0)


# ------------------------------------------------------------------------------------ the watches


class Watch(threading.Thread):
    """Puts what changes into `put`, as (kind, path)."""

    def __init__(self, paths: list[str], recursive: bool, put: Callable[[Any], None]) -> None:
        from watchfiles._rust_notify import RustNotify

        super().__init__(name="zolal-watch", daemon=True)
        polling = os.environ.get("WATCHFILES_FORCE_POLLING", "") not in ("", "false", "disable")
        self._notify = RustNotify(paths, False, polling, 300, recursive, True)
        self._put = put
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        while True:
            found = self._notify.watch(DEBOUNCE_MS, STEP_MS, 0, self._over)
            if found == "stop":
                return
            if not isinstance(found, str):
                self._put(found)

    def close(self) -> None:
        self._over.set()
        self.join(1)
        self._notify.close()


def base_of(pattern: str) -> str:
    """The folder that holds whatever a pattern may match."""
    folder = pattern
    while any(letter in folder for letter in "*?["):
        folder = os.path.dirname(folder)
    return folder if folder != pattern or os.path.isdir(folder) else os.path.dirname(folder)


class Files:
    """Which files matter, and the watches over them: everything below `root`, the folders of
    imported modules that lie elsewhere, and what `extra` names, paths or patterns."""

    def __init__(self, root: str, extra: Sequence[str], say: Callable[[str], None]) -> None:
        self.root = root
        self.extra = [os.path.join(root, pattern) for pattern in extra]
        self.modules: set[str] = set()
        self._sees_root = True
        self._say = say
        self._found: list[set[tuple[int, str]]] = []
        self._wake_reading, self.wake_writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: set[str] = set()
        self._folder_watch: Watch | None = None
        self._tree_watch = self._watch_trees()
        self._watch_folders()

    def fileno(self) -> int:
        """Readable when there is something to take, or a signal has come."""
        return self._wake_reading

    def _put(self, found: set[tuple[int, str]]) -> None:
        self._found.append(found)
        try:
            os.write(self.wake_writing, b"w")
        except BlockingIOError:
            pass

    def _watch_trees(self) -> Watch | None:
        patterns = [pattern for pattern in self.extra if not os.path.isfile(pattern)]
        trees = [self.root, *(base for base in map(base_of, patterns) if not self._is_below(base))]
        try:
            return Watch([tree for tree in trees if os.path.isdir(tree)], True, self._put)
        except OSError as error:
            # Too many folders for inotify, or one that cannot be read.
            self._say(f"watches only the files in use, not all of {self.root}: {error}")
            self._sees_root = False
            return None

    def _is_below(self, path: str) -> bool:
        if not self._sees_root:
            return False
        return path == self.root or path.startswith(self.root.rstrip(os.sep) + os.sep)

    def _watch_folders(self) -> None:
        """Folders and not files: editors replace a file by another of the same name."""
        files = [*self.modules, *filter(os.path.isfile, self.extra)]
        folders = {os.path.dirname(file) for file in files if not self._is_below(file)}
        folders = set(filter(os.path.isdir, folders))
        if folders <= self._folders:
            return
        self._folders |= folders
        before = self._folder_watch
        try:
            self._folder_watch = Watch(
                sorted(filter(os.path.isdir, self._folders)), False, self._put
            )
        except OSError as error:
            self._say(f"does not watch the modules outside of {self.root}: {error}")
        else:
            if before:
                # It may have seen what it has not told yet, from before the new one was there.
                retirement = threading.Timer(2, before.close)
                retirement.daemon = True
                retirement.start()

    def add_modules(self, files: Iterable[str], since: float) -> set[str]:
        """What the child has imported. Returns those that have changed since then: nobody was
        watching yet."""
        files = {*files, *map(os.path.realpath, files)} - self.modules
        self.modules |= files
        self._watch_folders()
        return {file for file in files if not self._is_below(file) and modified(file) > since}

    def take_changes(self) -> set[str]:
        """Those that matter."""
        try:
            while os.read(self._wake_reading, 4096):
                pass
        except BlockingIOError:
            pass
        found, self._found[:] = self._found[:], []
        return {path for some in found for kind, path in some if self._matters(kind, path)}

    def _matters(self, kind: int, path: str) -> bool:
        if path in self.modules:
            return True
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in self.extra):
            return True
        if any(path.startswith(folder.rstrip(os.sep) + os.sep) for folder in self.extra):
            return True
        if not self._is_below(path):
            return False
        parts = os.path.relpath(path, self.root).split(os.sep)
        if any(part in IGNORED or part.startswith(".") for part in parts):
            return False
        if path.endswith(".py"):
            return True
        # A folder that comes or goes in one piece says nothing of the files in it.
        if kind == DELETED:
            return any(file.startswith(path + os.sep) for file in self.modules)
        return os.path.isdir(path) and any(name.endswith(".py") for name in os.listdir(path))

    def close(self) -> None:
        for watch in (self._tree_watch, self._folder_watch):
            if watch:
                watch.close()


def modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0


def forget_compiled(path: str) -> None:
    """Python takes a file that has its old size, and was changed in the second in which it was
    compiled, for unchanged."""
    if path.endswith(".py"):
        try:
            os.unlink(importlib.util.cache_from_source(path))
        except (OSError, NotImplementedError):
            pass


# ------------------------------------------------------------------------------------- the parent


class Reloader:
    """Keeps a child serving on `listeners`, descriptors that stay the caller's. `folder`: where the
    command was called; `root`: the folder that is watched."""

    def __init__(
        self,
        listeners: Sequence[int],
        *,
        folder: str,
        root: str,
        extra: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        try:
            import watchfiles  # noqa: F401
        except ImportError:
            raise CannotReload(
                "--reload needs watchfiles, which is not installed: pip install 'zolal[reload]'"
            ) from None
        self._listeners = [os.dup(fd) for fd in listeners]
        self._folder = folder
        self._say = say
        self._files = Files(root, extra, say)
        self._child: subprocess.Popen[bytes] | None = None
        self._tether: socket.socket | None = None
        self._started = 0.0
        self._buffer = b""
        self._recording = ""
        self._valid = False
        self._has_terminal = has_terminal()
        self._stop_wanted = self._reload_wanted = False
        self._changes: set[str] = set()

    def prepare(self) -> None:
        """From now on signals are answered by an orderly end."""
        signal.set_wakeup_fd(self._files.wake_writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and (self._has_terminal == has_terminal()):
            self._reload_wanted = True
        elif number != signal.SIGCHLD:
            self._stop_wanted = True

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns the exit status."""
        try:
            self._start_child()
            while not self._stop_wanted:
                self._wait(None)
                if self._child and self._child.poll() is not None and not self._stop_wanted:
                    status = self._note_end(self._child)
                    if status is not None:
                        return status
                if (self._changes or self._reload_wanted) and not self._stop_wanted:
                    self._restart()
            return 0
        finally:
            self._stop_child()
            self._files.close()
            for fd in self._listeners:
                os.close(fd)

    def _wait(self, seconds: float | None) -> None:
        """For a change, a signal (the child's end is one) or what the child tells."""
        reading: list[Any] = [self._files]
        if self._tether:
            reading.append(self._tether)
        ready, _, _ = select.select(reading, [], [], seconds)
        if self._tether in ready:
            self._hear()
        self._changes |= self._files.take_changes()

    def _hear(self) -> None:
        assert self._tether
        try:
            data = self._tether.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self._tether.close()
            self._tether = None
            return
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        files = []
        for message in messages:
            text = os.fsdecode(message[1:])
            if message[:1] == b"F":
                files.append(text)
            elif message[:1] == b"R":
                self._recording = text
            else:
                self._valid = True
        if files:
            self._changes |= self._files.add_modules(files, self._started)

    def _start_child(self) -> None:
        ours, theirs = socket.socketpair()
        fds = [theirs.fileno(), *self._listeners]
        environ = {**os.environ, VARIABLE: ",".join(map(str, fds))}
        restore_echo()
        # What changes from here on is not in what the child reads, or may not be.
        for path in self._changes:
            forget_compiled(path)
        self._changes = set()
        self._reload_wanted = False
        self._started = time.time()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            # Its Python is told what ours was told: -X, -W, -m or a script.
            self._child = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                cwd=self._folder,
                env=environ,
                pass_fds=fds,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._tether, self._buffer, self._recording = ours, b"", ""

    def _stop_child(self) -> None:
        child = self._child
        if child is None:
            return
        if self._tether:
            try:
                self._tether.send(b"s")
            except OSError:
                pass  # it has just ended
        deadline = time.monotonic() + GRACE + 1.5
        while child.poll() is None and time.monotonic() < deadline:
            self._wait(max(0.0, deadline - time.monotonic()))
        if child.returncode is None:
            child.kill()
            child.wait()
            if self._recording:
                try:
                    os.unlink(self._recording)
                except OSError:
                    pass
        self._forget_child()

    def _forget_child(self) -> None:
        while self._tether:  # what it has said to the last
            if not select.select([self._tether], [], [], 0)[0]:
                self._tether.close()
                self._tether = None
                break
            self._hear()
        self._child = None

    def _restart(self) -> None:
        names = [os.path.relpath(path, self._files.root) for path in sorted(self._changes)]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        self._say(f"{', '.join(names[:3])}{more} changed: reloads" if names else "reloads")
        self._stop_child()
        if not self._stop_wanted:
            self._start_child()

    def _note_end(self, child: subprocess.Popen[bytes]) -> int | None:
        """The child has ended by itself. Returns the status to end with, or None: wait."""
        self._forget_child()
        status = child.returncode
        if status in EXITS_FOR_GOOD and not self._valid:
            return status
        if status < 0:
            self._say(f"the server was ended by {signal.Signals(-status).name}")
        self._say("waits for a change")
        return None


def has_terminal() -> bool:
    """False also where the terminal was closed, which is what SIGHUP says at first."""
    try:
        return os.isatty(0) or os.isatty(2)
    except OSError:
        return False


def restore_echo() -> None:
    """A debugger that was ended at its prompt leaves a terminal without an echo."""
    import termios

    try:
        settings = termios.tcgetattr(sys.stdin)
        if not settings[3] & termios.ECHO:
            settings[3] |= termios.ECHO
            termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)
    except (TypeError, ValueError, OSError, termios.error):
        pass
