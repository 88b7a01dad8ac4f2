"""The OpenAPI document: every route of the server, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Mount, Route

from rollguard.server import openapi

if TYPE_CHECKING:
    from tests.unit.conftest import App

UNLISTED = {"/metrics", "/ofrep/v1/events"}
"""Exposition and event stream: no JSON."""


def test_it_has_every_route(app: App) -> None:
    paths: dict[str, str] = {}
    for listed in app.server.app().routes:
        inside: Any = listed.routes if isinstance(listed, Mount) else [listed]
        prefix = listed.path if isinstance(listed, Mount) else ""
        for route in inside:
            assert isinstance(route, Route)
            paths[prefix + route.path] = "post" if "POST" in (route.methods or ()) else "get"
    described = openapi.document({})["paths"]
    operations = {
        path: next(key for key in item if key in ("get", "post")) for path, item in described.items()
    }
    assert operations == {path: method for path, method in paths.items() if path not in UNLISTED}


def test_it_is_served_to_everybody_with_the_rollouts_as_examples(app: App) -> None:
    found = app.get("/api/v1/openapi.json", token=None).json()
    assert found["openapi"].startswith("3.1")
    (name,) = found["paths"]["/api/v1/rollouts/{name}"]["parameters"]
    assert list(name["examples"]) == ["model-canary"]


def test_every_verb_is_a_method_of_the_control_plane(app: App) -> None:
    for verb in openapi.VERBS:
        assert callable(getattr(app.control, verb))
