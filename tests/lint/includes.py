"""Who may include whom: the layers of src/ and the direction of the arrows between them.

Prints each violation as FILE:LINE: what is wrong; exits 1 when there is one.
"""

import pathlib
import re
import sys

# Each folder of src/ and the folders whose headers it may include, besides its own.
LAYERS = {
    "base": set(),
    "trace": {"base"},
    "frames": {"base"},
    "stacks": {"base", "trace", "frames"},
    "socket": {"base", "trace"},
    "event_loop": {"base", "trace", "socket"},
    "http": {"base"},
    "server": {"base", "trace", "socket", "event_loop", "http"},
    "echo": {"base", "trace", "socket", "event_loop"},
    "exact": {"base", "trace", "frames", "stacks"},
    "python": {
        "base",
        "trace",
        "frames",
        "socket",
        "event_loop",
        "http",
        "server",
        "echo",
        "exact",
    },
    "preload": {"base", "trace", "frames", "stacks"},
}

# System headers that only some layers may include, and which: the network's are the two doors to
# the kernel, whose own headers pass on to the layers above what these need of them.
NETWORK = {"socket", "event_loop", "preload", "exact"}
SYSTEM_HEADERS = {
    r"Python\.h|structmember\.h|frameobject\.h|datetime\.h": {"python"},
    r"sys/socket\.h|sys/un\.h|netinet/.*|arpa/.*|netdb\.h|net/.*|linux/(tcp|in|if).*": NETWORK,
    r"sys/epoll\.h|sys/eventfd\.h|sys/signalfd\.h|sys/timerfd\.h": {
        "event_loop",
        "preload",
        "exact",
    },
    r"poll\.h|sys/poll\.h|sys/select\.h|sys/sendfile\.h|liburing\.h": NETWORK,
    r"sys/ptrace\.h|sys/wait\.h|sys/prctl\.h|linux/(seccomp|filter|ptrace)\.h": {"exact"},
    r"x86intrin\.h|immintrin\.h": {"base"},
}

# (file under src/, header): why this one is right although the tables above refuse it.
EXCEPTIONS = {}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>|(\S.*))')


def includes(text):
    """(line number, quoted header or "", system header or "", neither or "") of each #include."""
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found[1] or "", found[2] or "", found[3] or ""


def refuse_own(layer, header, source):
    """What is wrong with `#include "header"` in a file of `layer`, or None."""
    if "/" not in header or header.startswith(("/", ".")):
        return f'"{header}": a header of the project is included with its folder'
    target = header.split("/")[0]
    if target not in LAYERS or not (source / header).is_file():
        return f'"{header}" is not a header of src/'
    if target != layer and target not in LAYERS[layer]:
        return f'{layer}/ may not include {target}/ ("{header}")'
    return None


def refuse_system(layer, header, source):
    """What is wrong with `#include <header>` in a file of `layer`, or None."""
    if (source / header).exists():
        return f"<{header}>: a header of the project is included with quotes"
    for pattern, allowed in SYSTEM_HEADERS.items():
        if re.fullmatch(pattern, header) and layer not in allowed:
            return f"{layer}/ may not include <{header}>"
    return None


def check_file(path, source):
    name = path.relative_to(source)
    layer = name.parts[0]
    if layer not in LAYERS:
        yield f"{path}:1: src/{layer}/ is not a layer (see LAYERS in {pathlib.Path(__file__).name})"
        return
    for number, own, system, other in includes(path.read_text()):
        if (str(name), own or system) in EXCEPTIONS:
            continue
        if other:
            wrong = f"`#include {other}` hides what is included"
        else:
            wrong = refuse_own(layer, own, source) if own else refuse_system(layer, system, source)
        if wrong:
            yield f"{path}:{number}: {wrong}"


def check(source):
    """Every violation below `source`, the folder of the layers."""
    for path in sorted(source.rglob("*.[ch]")):
        yield from check_file(path, source)


def main():
    root = pathlib.Path(__file__).parents[2]
    violations = list(check(root / "src"))
    print("\n".join(violations) or "who includes whom: as it should be")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
