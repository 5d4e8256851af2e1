"""zolal with one thread."""

import sys

from zolal.cli import main

module, port = sys.argv[1:]
main([module, "--threads", "1", "--bind", f"127.0.0.1:{port}"])
