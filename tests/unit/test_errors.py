"""Errors: no password gets into what is shown, logged or kept."""

from __future__ import annotations

import pytest

from rollguard.errors import without_login


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:s3cret@host:9090/x", "http://…@host:9090/x"),
        ("HTTPS://ann:s3cret@host", "HTTPS://…@host"),
        ("https://s3cret-token@host/x", "https://…@host/x"),
        ("redis://:s3cret@host:6379/0?stream=x", "redis://…@host:6379/0?stream=x"),
        ("rediss://host/0?password=s3cret&stream=x", "rediss://host/0?password=…&stream=x"),
        ("postgresql+psycopg://ann:s3cret@host/db", "postgresql+psycopg://…@host/db"),
        ("postgresql://ann:s3/c?ret@host/db", "postgresql://…@host/db"),
        ("postgresql://ann:s3@c:ret@host/db", "postgresql://…@host/db"),
        ("http://ann:s3%40cret@[::1]:9090", "http://…@[::1]:9090"),
        (
            "for url 'http://ann:s3cret@host/a' at http://b:s3cret@c.",
            "for url 'http://…@host/a' at http://…@c.",
        ),
        ('{"u": "http://host:80","m":"a@b"}', '{"u": "http://host:80","m":"a@b"}'),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("postgresql://ann:***@host/db", "postgresql://ann:***@host/db"),
        ("http://host:9090/graph?g0.expr=x@y", "http://host:9090/graph?g0.expr=x@y"),
        ("http://host:9090/@ann", "http://host:9090/@ann"),
        ("redis://host:6379/0 of ann:b@c", "redis://host:6379/0 of ann:b@c"),
        ("mail to ann@host", "mail to ann@host"),
    ],
)
def test_no_login_of_a_url_is_left(text: str, shown: str) -> None:
    assert without_login(text) == shown
    assert without_login(shown) == shown


def test_a_link_may_be_left_whole() -> None:
    assert without_login("https://ann:s3cret@rollguard.example", "") == "https://rollguard.example"
