"""Real applications: Django and Flask."""

import json
import pathlib

import pytest
from http_client import Client, chunked, request

APPS = pathlib.Path(__file__).parents[1] / "apps"
FORM = "Content-Type: application/x-www-form-urlencoded"
BOUNDARY = "Content-Type: multipart/form-data; boundary=BOUND"


@pytest.fixture(scope="module")
def django(serve_module, tmp_path_factory):
    pytest.importorskip("django")
    folder = tmp_path_factory.mktemp("django")
    return serve_module("django_app", env={"DJANGO_FOLDER": str(folder)})


@pytest.fixture(scope="module")
def flask(serve_module):
    pytest.importorskip("flask")
    return serve_module("flask_app:app")


@pytest.fixture
def django_client(django):
    with Client(django.address) as client:
        yield client


@pytest.fixture
def flask_client(flask):
    with Client(flask.address) as client:
        yield client


def post(client, target, *fields, body):
    client.send(request(target, *fields, method="POST", body=body))
    response = client.response("POST")
    assert response.status == 200, response.text
    return response


def multipart(name, content):
    head = (
        '--BOUND\r\nContent-Disposition: form-data; name="note"\r\n\r\nn\xc3\xb6te\r\n'
        f'--BOUND\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode("latin-1") + content + b"\r\n--BOUND--\r\n"


def cookies(response):
    return "; ".join(value.partition(";")[0] for value in response.all("Set-Cookie"))


# ---- Django


def test_django_page(django_client):
    response = django_client.get("/hello?name=caf%C3%A9")
    assert response.status == 200
    assert response.body.decode() == "hällo café"
    assert [value.partition(";")[0] for value in response.all("Set-Cookie")] == ["one=1", "two=2"]


def test_django_head_redirect_and_missing_page(django_client):
    get = django_client.get("/hello")
    head = django_client.get("/hello", method="HEAD")
    assert head.one("Content-Length") == get.one("Content-Length")
    response = django_client.get("/redirect")
    assert (response.status, response.one("Location")) == (302, "/hello")
    assert django_client.get("/nowhere").status == 404
    assert django_client.get("/absolute").body == b"http://localhost/x?y"


def test_django_not_modified(django_client):
    tag = django_client.get("/download").all("ETag") or django_client.get("/hello").all("ETag")
    response = django_client.get("/hello", f"If-None-Match: {tag[0]}")
    assert (response.status, response.body) == (304, b"")


def test_django_form(django_client):
    body = b"a=1&a=2&b=caf%C3%A9"
    assert (
        post(django_client, "/form", FORM, body=body).body
        == json.dumps({"a": ["1", "2"], "b": ["café"]}).encode()
    )


@pytest.mark.parametrize(
    "size, kind", [(1000, "InMemoryUploadedFile"), (2_000_000, "TemporaryUploadedFile")]
)
@pytest.mark.parametrize("framed", ["length", "chunked"])
def test_django_upload(django_client, size, kind, framed):
    content = bytes(range(256)) * (size // 256)
    body, fields = multipart("a.bin", content), [BOUNDARY]
    if framed == "chunked":
        fields.append("Transfer-Encoding: chunked")
        body = chunked(*(body[start : start + 9999] for start in range(0, len(body), 9999)))
    found = json.loads(post(django_client, "/upload", *fields, body=body).body)
    assert found == {
        "name": "a.bin",
        "size": len(content),
        "kind": kind,
        "sum": sum(content),
        "note": "nöte",
    }


def test_django_raw_body(django_client):
    assert post(django_client, "/raw", body=b"\0\xff" * 70_000).body == b"\0\xff" * 70_000


def test_django_streams(django_client):
    response = django_client.get("/stream")
    assert response.framing == "chunked"
    assert response.body == b"".join(b"row %d\n" % number for number in range(1000))
    numbers = "".join(f"{number} " for number in range(1, 501))
    assert django_client.get("/rows").body == numbers.encode()


def test_django_file(django_client):
    content = (APPS / "django_app.py").read_bytes()
    response = django_client.get("/download")
    assert response.body == content
    assert response.one("Content-Length") == str(len(content))
    head = django_client.get("/download", method="HEAD")
    assert head.one("Content-Length") == str(len(content))


def test_django_session(django_client):
    response = django_client.get("/visits")
    assert json.loads(response.body) == {"visits": 1}
    again = django_client.get("/visits", "Cookie: " + cookies(response))
    assert json.loads(again.body) == {"visits": 2}


def test_django_error(django):
    with Client(django.address) as client:
        response = client.get("/broken")
        assert response.status == 500
        assert b"ZeroDivisionError" not in response.body
        # Django caught it: to the server it is an answer like any other.
        assert not response.closes
        assert client.get("/hello").status == 200
    assert "ZeroDivisionError: intended" in django.stderr()


def test_django_lets_go_of_its_requests(django):
    """Every request has a begin and an end, in one thread, and leaves no object behind."""
    with Client(django.address) as client:
        for _ in range(5):
            for target in ("/hello", "/stream", "/broken", "/rows", "/download"):
                client.get(target)
                client.get(target, method="HEAD")
            post(client, "/form", FORM, body=b"a=1")
            post(client, "/upload", BOUNDARY, body=multipart("b", b"b" * 200_000))
        with Client(django.address) as leaving:
            leaving.send(request("/stream") * 3)
            leaving.reset()
        found = json.loads(client.get("/alive").body)
    assert found["alive"] == 0
    assert found["astray"] == []
    # The question itself has begun and not ended.
    assert found["finished"] == found["started"] - 1


# ---- Flask


def test_flask_page(flask_client):
    response = flask_client.get("/hello/caf%C3%A9?q=%26")
    assert response.body.decode() == "hällo café &"
    assert flask_client.get("/hello/x", method="HEAD").one("Content-Length") == "9"
    assert flask_client.get("/nowhere").status == 404
    assert flask_client.get("/hello/x", method="OPTIONS").one("Allow")


def test_flask_form_and_json(flask_client):
    assert json.loads(post(flask_client, "/form", FORM, body=b"a=1&b=2").body) == {
        "a": "1",
        "b": "2",
    }
    value = {"a": [1, None, "é"]}
    body = json.dumps(value).encode()
    found = post(flask_client, "/json", "Content-Type: application/json", body=body)
    assert json.loads(found.body) == value


@pytest.mark.parametrize("size", [1000, 2_000_000])
def test_flask_upload(flask_client, size):
    content = bytes(range(250)) * (size // 250)
    found = post(flask_client, "/upload", BOUNDARY, body=multipart("c.bin", content))
    assert json.loads(found.body) == {
        "name": "c.bin",
        "size": size,
        "sum": sum(content),
        "note": "nöte",
    }


def test_flask_chunked_body(flask_client):
    """Werkzeug reads a body without a length only from a server that says where it ends."""
    body = chunked(b"abc", b"d" * 100_000)
    found = post(flask_client, "/raw", "Transfer-Encoding: chunked", body=body)
    assert found.body == b"abc" + b"d" * 100_000


def test_flask_stream(flask_client):
    response = flask_client.get("/stream")
    assert response.body == b"".join(b"/stream %d\n" % number for number in range(1000))


def test_flask_files(flask_client):
    content = (APPS / "flask_app.py").read_bytes()
    response = flask_client.get("/file")
    assert response.body == content
    part = flask_client.get("/file", "Range: bytes=10-99")
    assert (part.status, part.body) == (206, content[10:100])
    unchanged = flask_client.get("/file", f"If-None-Match: {response.one('ETag')}")
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert flask_client.get("/memory").body == b"m" * 100_000


def test_flask_session(flask_client):
    response = flask_client.get("/visits")
    again = flask_client.get("/visits", "Cookie: " + cookies(response))
    assert json.loads(again.body) == {"visits": 2}


def test_flask_tears_down_once(flask):
    with Client(flask.address) as client:
        client.get("/teardowns")
        client.get("/hello/x")
        client.get("/memory")
        client.get("/broken")
        # The question before has ended as well.
        assert json.loads(client.get("/teardowns").body) == [None, None, None, "ZeroDivisionError"]
    assert "ZeroDivisionError: intended" in flask.stderr()
