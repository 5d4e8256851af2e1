"""gunicorn with one worker of the kind that it has by default."""

import sys

from gunicorn.app.wsgiapp import run
from gunicorn.config import KNOWN_SETTINGS

module, port = sys.argv[1:]
sys.argv = ["gunicorn", "--workers", "1", "--bind", f"127.0.0.1:{port}", module]
if any(setting.name == "control_socket_disable" for setting in KNOWN_SETTINGS):
    sys.argv.append("--no-control-socket")  # a server of its own, in the user's home
run()
