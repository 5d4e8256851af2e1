"""What it costs to see which line of Python runs (src/frames/), in nanoseconds.

./dev bench frames              after which any other Python can run it too:
python3.13 bench/frames.py
"""

import ctypes
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
PROBE = ROOT / "build/plain/tests/frames/frames_probe.so"
TURNS, ROUNDS = 20000, 7

CHILD = """
import time
def deep(level):
    return time.sleep(60) if level == 0 else deep(level - 1)
print(flush=True)
deep(17)
"""


def deep(level, function):
    return function() if level <= 1 else deep(level - 1, function)


def load(kind):
    """The probe, whose calls keep the GIL (PyDLL) or release it (CDLL)."""
    library = kind(str(PROBE))
    for name in ("probe_walks", "probe_keys", "probe_names", "probe_walks_remote"):
        getattr(library, name).restype = ctypes.c_double
    return library


def best(function, *arguments, turns=TURNS):
    """Of some rounds the least: what a busy machine adds is not the function's."""
    return min(function(turns, *arguments) for _ in range(ROUNDS))


def of_another_process(library):
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            time.sleep(0.1)
            if library.probe_find_remote(child.pid) < 0:
                return None
            return best(library.probe_walks_remote, child.pid, 20, turns=500)
        finally:
            child.kill()


def main():
    library, holding = load(ctypes.CDLL), load(ctypes.PyDLL)
    if library.probe_find() < 0:
        sys.exit("this Python is not known to src/frames/")
    rows = [
        ("a walk, 1 frame", lambda: best(library.probe_walks, 1)),
        ("a walk, 20 frames", lambda: best(library.probe_walks, 20)),
        ("the keys of 20 code objects", lambda: best(library.probe_keys, 20)),
        ("names, files and lines of 20", lambda: best(library.probe_names, 20, turns=500)),
        ("a walk with the GIL, 1 frame", lambda: best(holding.probe_walks, 1, turns=500)),
        ("a walk with the GIL, 20 frames", lambda: best(holding.probe_walks, 20, turns=500)),
        ("of another process, 20 frames", lambda: of_another_process(library)),
    ]
    print("Python", sys.version.split()[0])
    for name, measure in rows:
        cost = deep(25, measure)
        print(f"{name:32}", "not allowed here" if cost is None else f"{cost:9.1f} ns")


if __name__ == "__main__":
    main()
