"""A Flask application."""

import io

from flask import Flask, Response, jsonify, request, send_file, session, stream_with_context

app = Flask(__name__)
app.secret_key = "a key for tests only"
teardowns = []


@app.teardown_request
def note(error):
    teardowns.append(type(error).__name__ if error else None)


@app.get("/hello/<name>")
def hello(name):
    return f"hällo {name} {request.args.get('q', '')}"


@app.post("/form")
def form():
    return jsonify(dict(request.form))


@app.post("/json")
def json():
    return jsonify(request.get_json())


@app.post("/upload")
def upload():
    file = request.files["file"]
    content = file.read()
    return jsonify(name=file.filename, size=len(content), sum=sum(content), **request.form)


@app.post("/raw")
def raw():
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.get("/stream")
def stream():
    def rows():
        for number in range(1000):
            yield f"{request.path} {number}\n"

    return Response(stream_with_context(rows()), mimetype="text/plain")


@app.get("/file")
def file():
    return send_file(__file__, conditional=True)


@app.get("/memory")
def memory():
    return send_file(io.BytesIO(b"m" * 100_000), mimetype="application/octet-stream")


@app.get("/visits")
def visits():
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


@app.get("/broken")
def broken():
    raise ZeroDivisionError("intended")


@app.get("/teardowns")
def ask_teardowns():
    found = list(teardowns)
    teardowns.clear()
    return jsonify(found)
