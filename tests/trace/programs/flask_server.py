"""Flask's own server."""

import sys

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "hello"


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]))
