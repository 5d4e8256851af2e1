"""The pages of the guestbook."""

from django.urls import path

from entries import views

urlpatterns = [
    path("", views.index, name="index"),
    path("entries/<int:pk>/attachment", views.attachment, name="attachment"),
    path("entries.csv", views.export, name="export"),
    path("error", views.error, name="error"),
]
