"""Run the black-box drivers of a folder against the installed zolal and print their counts; what
the drivers say goes to stderr.

    drivers.py FOLDER [REPORT]

Each driver is asked about servers of its own, by each entrance: `zolal` with one thread and with
sixteen, make_server with and without ThreadingMixIn, Django's runserver; serving the application
that the driver expects. REPORT, if named, gets a line "PASSED FAILED SKIPPED" for each.
"""

import contextlib
import itertools
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

# Driver, its arguments after HOST and PORT, and the application that it expects.
DRIVERS = [
    ("drive.py", ["--cases", "cases-dev.jsonl"], "reference_app:app"),
    ("wsgi_check.py", ["--log", "{log}"], "wsgi_check:application"),
]

HERE = pathlib.Path(__file__).parent
ZOLAL = str(pathlib.Path(sys.executable).with_name("zolal"))
MAKE_SERVER = [sys.executable, str(HERE / "entrance_make_server.py"), "{application}", "{port}"]
RUNSERVER = [sys.executable, str(HERE / "entrance_runserver.py"), "runserver", "--noreload"]
ENTRANCES = {
    "1 thread": [ZOLAL, "--bind", "127.0.0.1:{port}", "{application}", "--threads", "1"],
    "16 threads": [ZOLAL, "--bind", "127.0.0.1:{port}", "{application}", "--threads", "16"],
    "make_server": MAKE_SERVER,
    "make_server, ThreadingMixIn": [*MAKE_SERVER, "threaded"],
    "runserver": [*RUNSERVER, "127.0.0.1:{port}"],
}

SECONDS_TO_START = 30
SECONDS_TO_CHECK = 600


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(port, server):
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"zolal does not answer (exit status {server.poll()})")


@contextlib.contextmanager
def serving(application, folder, log, entrance):
    """zolal by one of its entrances, on a free port of the loopback; yields the port."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": folder, "DRIVERS_APPLICATION": application}
    command = [argument.format(port=port, application=application) for argument in entrance]
    with open(log, "wb") as stderr:
        server = subprocess.Popen(
            command, cwd=folder, stdout=stderr, stderr=stderr, env=environment
        )
        try:
            wait_until_it_answers(port, server)
            yield port
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def read_counts(output):
    """(passed, failed, skipped, failed at level MUST) as a driver's last lines say."""
    counts = re.search(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", output, re.M)
    must = re.search(r"level MUST: (\d+)|\(MUST (\d+)\)", output)
    if not counts or not must:
        raise RuntimeError("the driver did not say how many passed")
    return *(int(number or 0) for number in counts.groups()), int(must[1] or must[2])


def run_driver(folder, driver, arguments, application, entrance):
    """What the driver printed."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        arguments = [argument.format(log=log.name) for argument in arguments]
        with serving(application, folder, log.name, entrance) as port:
            command = [sys.executable, driver, "127.0.0.1", str(port), *arguments]
            done = subprocess.run(
                command,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS_TO_CHECK,
            )
        return done.stdout


def main(folder, report=None):
    folder = str(pathlib.Path(folder).resolve())
    broken = False
    for entrance, (driver, arguments, application) in itertools.product(ENTRANCES, DRIVERS):
        counted = (0, 1, 0)  # what the specification demands must pass; the rest is told
        try:
            output = run_driver(folder, driver, arguments, application, ENTRANCES[entrance])
            print(f"--- {driver}\n{output}", file=sys.stderr)
            passed, failed, skipped, must = read_counts(output)
            print(
                f"{driver}, {entrance}: {passed} passed, {failed} failed ({must} MUST), "
                f"{skipped} skipped"
            )
            counted = (passed, must, skipped + failed - must)
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{driver}, {entrance}: could not be run: {error}")
        broken = broken or counted[1] > 0
        if report:
            with open(report, "a") as lines:
                print(*counted, file=lines)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
