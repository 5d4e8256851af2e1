"""What of Django's own tests does not apply to zolal, or differs, and why. Keys: the name
of a test or of a class, or the end of it."""

IN_ANOTHER_PROCESS = (
    "it starts manage.py in a process of its own, with settings that do not have zolal.django; "
    "tests/django/test_runserver.py does that with it (test_help, test_address_that_cannot_be)"
)
NO_SERVER = "no server is made in it: that it is not is what it tests"
IN_MEMORY = "Django skips it where the database is in memory, as here"
RACE = (
    "it asks the database right after a click, without waiting for the page: whether the request "
    "has been handled by then is chance"
)
MENDED_RACE = RACE + "; in Django 5.2 the same test waits"

NOT_APPLICABLE = {
    "ManageRunserverHelpOutput": IN_ANOTHER_PROCESS,
    "ManageRunserverEmptyAllowedHosts": IN_ANOTHER_PROCESS,
    "LiveServerThreadTest.test_server_class": NO_SERVER,
    "LiveServerTestCaseSetupTest": NO_SERVER,
    "StaticLiveServerChecks": NO_SERVER,
    "LiveServerThreadTest.test_closes_connections": IN_MEMORY,
    "LiveServerTestCloseConnectionTest": IN_MEMORY,
    "SeleniumTests.test_redirect_on_add_view_add_another_button": RACE,
    "SeleniumTests.test_redirect_on_add_view_continue_button": RACE,
    "LiveWidgetTests.test_textarea_trailing_newlines": RACE,
    "SeleniumTests.test_related_popup_index": RACE,
}

NOT_APPLICABLE_IN = {
    "4.2": {
        "SeleniumTests.test_inline_uuid_pk_add_with_popup": (
            "the link that it clicks is not on the page: the admin of the tests forbids to add one"
        ),
        "SeleniumTests.test_updating_related_objects_updates_fk_selects_except_autocompletes": (
            MENDED_RACE
        ),
    },
}
"""By the version of Django."""

SAYS_CLOSE = (
    "the client has asked for the end of the connection: zolal says Connection: close in its last "
    "answer, as RFC 9112 9.6 wants it; Django's server closes without saying so"
)

DIFFERENT = {
    "LiveServerViews.test_keep_alive_on_connection_with_content_length": SAYS_CLOSE,
    "LiveServerViews.test_keep_alive_connection_clears_previous_request_data": SAYS_CLOSE,
}
