"""Servers of tests: what is known of one that was started, and how long one waits for it."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess

APPS = pathlib.Path(__file__).parent / "apps"
PATIENCE = float(os.environ.get("ZOLAL_TEST_PATIENCE", "20"))
THREADS = os.environ.get("ZOLAL_TEST_THREADS")
"""--threads of every server whose test does not say; None: as a user has it."""
UNDER_ASAN = "ASAN_OPTIONS" in os.environ
SERVES = re.compile(r"serves .+? on (.*) \(pid (\d+)\)")


def parse(text):
    """The address in "http://127.0.0.1:8000" or "unix:path", as the socket module takes it."""
    if text.startswith("unix:@"):
        return "\0" + text[len("unix:@") :]
    if text.startswith("unix:"):
        return text[len("unix:") :]
    host, _, port = text.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)


class Server:
    """A zolal process. `addresses`: of each listener, (host, port) or the path of a UNIX socket;
    `address`: the first. `stdout()`, `stderr()`: what it has said so far."""

    def __init__(self, folder, command, env):
        self._out, self._err = folder / "stdout", folder / "stderr"
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            # In a folder without a zolal/, so that what is installed is what is tested.
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=err)

    @property
    def pid(self):
        return self.process.pid

    def stdout(self):
        return self._out.read_text(errors="replace")

    def stderr(self):
        return self._err.read_text(errors="replace")

    @contextlib.contextmanager
    def paused(self):
        """It finds what is sent meanwhile at once."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def wait_until(self, condition, what):
        """Poll until condition() is true; it may not come to be only for so long."""
        for _ in range(int(PATIENCE * 100)):
            found = condition()
            if found:
                return found
            try:
                self.process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            if found := condition():
                return found
            break
        raise AssertionError(f"{what}: status {self.process.poll()}, stderr:\n{self.stderr()}")

    def wait_for_start(self):
        found = self.wait_until(lambda: SERVES.search(self.stderr()), "the server did not start")
        self.addresses = [parse(one) for one in found.group(1).split(" and ")]
        self.address = self.addresses[0]
        return self

    def stop(self, expect=0):
        """SIGTERM, and the status that must follow; None: any. Later calls do nothing."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end it; stderr:\n{self.stderr()}") from None
        assert expect is None or status == expect, f"status {status}, stderr:\n{self.stderr()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
