"""The guestbook's pages, the admin, and the static files of both."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("entries.urls")),
    *staticfiles_urlpatterns(),
]
