"""The Django app: with "zolal.django" in INSTALLED_APPS, `manage.py runserver` runs on zolal."""
