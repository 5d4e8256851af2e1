"""The lint of the include graph holds for src/, and refuses what it is there to refuse."""

import includes
import pytest


@pytest.fixture
def source(tmp_path):
    """A small src/ that is as it should be."""
    for name in ("base/error.h", "trace/event.h", "socket/kernel.h", "http/token.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#include <stddef.h>\n")
    (tmp_path / "socket/kernel.c").write_text(
        '#include "socket/kernel.h"\n#include <sys/socket.h>\n#include "trace/event.h"\n'
    )
    return tmp_path


def test_the_layers_have_no_circle():
    below = {}
    for layer, allowed in includes.LAYERS.items():
        assert allowed <= below.keys(), f"{layer} uses a layer that is listed after it"
        below[layer] = allowed


def test_a_layer_uses_what_is_below(source):
    assert list(includes.check(source)) == []


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        ("base/error.c", '#include "trace/event.h"', "base/ may not include trace/"),
        ("trace/event.c", '#include "socket/kernel.h"', "trace/ may not include socket/"),
        ("http/token.c", '#include "socket/kernel.h"', "http/ may not include socket/"),
        ("http/token.c", '  #  include "trace/event.h"', "http/ may not include trace/"),
        ("frames/walk.c", '#include "trace/event.h"', "frames/ may not include trace/"),
        ("server/worker.c", '#include "python/module.h"', "is not a header of src/"),
        ("server/worker.c", "#include <Python.h>", "may not include <Python.h>"),
        ("server/worker.c", "#include <sys/epoll.h>", "may not include <sys/epoll.h>"),
        ("http/token.c", "#include <netinet/tcp.h>", "may not include <netinet/tcp.h>"),
        ("python/module.c", "#include <sys/socket.h>", "may not include <sys/socket.h>"),
        ("socket/kernel.h", '#include "address.h"', "is included with its folder"),
        ("socket/kernel.h", '#include "../base/error.h"', "is included with its folder"),
        ("socket/kernel.h", "#include <base/error.h>", "is included with quotes"),
        ("socket/kernel.h", "#include HEADER", "hides what is included"),
        ("extra/thing.c", "", "is not a layer"),
    ],
)
def test_a_violation_is_named_with_its_line(source, file, line, reason):
    path = source / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"\n{line}\n")
    violations = list(includes.check(source))
    assert len(violations) == 1
    assert reason in violations[0]
    assert violations[0].startswith(f"{path}:")
