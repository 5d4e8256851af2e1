"""A small page of Flask: one route with an argument."""

from flask import Flask

application = Flask(__name__)


@application.route("/hello/<name>")
def hello(name):
    return f"Hello, {name}!\n"
