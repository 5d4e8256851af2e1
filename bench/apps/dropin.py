"""dropin.py wsgiref|zolal|django|zolal.django PORT: a hello by a drop-in, or by what it stands for.
The log lines go where the program's standard error goes."""

import sys

import plain


def make_server(module, port):
    module.make_server("127.0.0.1", port, plain.hello).serve_forever()


def runserver(port, apps):
    from django.conf import settings
    from django.core.management import execute_from_command_line

    settings.configure(
        DEBUG=True,
        SECRET_KEY="none",
        ROOT_URLCONF="none",
        INSTALLED_APPS=apps,
        WSGI_APPLICATION="plain.hello",
    )
    words = ["manage.py", "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"]
    execute_from_command_line(words)


what, port = sys.argv[1], int(sys.argv[2])
if what == "wsgiref":
    from wsgiref import simple_server

    make_server(simple_server, port)
elif what == "zolal":
    from zolal import simple_server

    make_server(simple_server, port)
else:
    runserver(port, ["zolal.django"] if what == "zolal.django" else [])
