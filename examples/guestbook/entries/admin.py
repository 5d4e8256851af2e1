"""Entries in Django's admin."""

from django.contrib import admin

from entries.models import Entry


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    list_display = ["name", "message", "attachment", "written"]
    search_fields = ["name", "message"]
