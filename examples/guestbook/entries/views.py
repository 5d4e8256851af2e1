"""One view of each kind that a real application has."""

import csv
from collections.abc import Iterator

from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from entries.forms import EntryForm
from entries.models import Entry

ROWS_MOST = 10_000_000


def index(request: HttpRequest) -> HttpResponse:
    """The entries, ten a page, and the form for another."""
    form = EntryForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("index")
    page = Paginator(Entry.objects.all(), 10).get_page(request.GET.get("page"))
    status = 422 if form.errors else 200
    return render(request, "entries/index.html", {"page": page, "form": form}, status=status)


def attachment(request: HttpRequest, pk: int) -> FileResponse:
    """The file that came with an entry: by wsgi.file_wrapper, so zolal sends it by sendfile(2)."""
    entry = get_object_or_404(Entry, pk=pk)
    if not entry.attachment:
        raise Http404("no file came with this entry")
    return FileResponse(entry.attachment.open("rb"), as_attachment=True)


class Echo:
    """What csv.writer writes to: gives each line back instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def export_lines(rows: int) -> Iterator[str]:
    """A line for each entry, over and over, until there are `rows`."""
    writer = csv.writer(Echo())
    yield writer.writerow(["number", "name", "message"])
    number = 0
    while number < rows:
        entries = list(Entry.objects.all()[:1000]) or [Entry(name="nobody", message="nothing yet")]
        for entry in entries[: rows - number]:
            number += 1
            yield writer.writerow([number, entry.name, entry.message])


def export(request: HttpRequest) -> StreamingHttpResponse:
    """A long download, made while it is sent: ?rows=N lines (default 1,000)."""
    try:
        rows = min(max(int(request.GET.get("rows", 1000)), 0), ROWS_MOST)
    except ValueError:
        raise Http404("rows must be a number") from None
    response = StreamingHttpResponse(export_lines(rows), content_type="text/csv")
    response["Content-Disposition"] = 'attachment; filename="entries.csv"'
    return response


def error(request: HttpRequest) -> HttpResponse:
    """What a programming error looks like."""
    raise RuntimeError("this page raises on purpose")
