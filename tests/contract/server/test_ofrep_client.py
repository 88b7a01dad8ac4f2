"""A real OpenFeature client that asks the control plane itself, by OFREP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

if TYPE_CHECKING:
    from tests.contract.conftest import Served

NAME = "model-canary"
USERS = [f"user-{number}" for number in range(300)]

Connect: TypeAlias = "Callable[[Served], OpenFeatureClient]"


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that gives a client of a control plane."""
    providers: list[OFREPProvider] = []

    def to(served: Served) -> OpenFeatureClient:
        providers.append(OFREPProvider(served.url, timeout=5.0))
        api.set_provider(providers[-1])
        return api.get_client()

    yield to
    for provider in providers:
        provider.session.close()
    api.clear_providers()


def user(key: str = "user-1") -> EvaluationContext:
    return EvaluationContext(targeting_key=key)


def test_before_its_start_a_client_reads_the_fallback(untouched: Served, connect: Connect) -> None:
    client = connect(untouched)
    found = client.get_boolean_details(NAME, True, user())
    assert (found.value, found.variant, found.error_code) == (False, "active", None)


def test_fully_on_a_client_reads_the_served_variant(served: Served, connect: Connect) -> None:
    client = connect(served)
    served.take_to("full")
    found = client.get_boolean_details(NAME, False, user())
    assert (found.value, found.variant, found.reason) == (True, "candidate", Reason.STATIC)
    assert found.flag_metadata["position"] == "full"


def test_in_a_canary_a_share_of_clients_reads_the_served_variant(in_canary: Served, connect: Connect) -> None:
    client = connect(in_canary)
    lucky = [key for key in USERS if client.get_boolean_value(NAME, False, user(key))]
    assert 10 <= len(lucky) <= 60
    assert all(client.get_boolean_value(NAME, False, user(key)) for key in lucky)


def test_a_client_without_a_targeting_key_reads_the_fallback(in_canary: Served, connect: Connect) -> None:
    client = connect(in_canary)
    found = client.get_boolean_details(NAME, True, EvaluationContext(attributes={"country": "ch"}))
    assert (found.value, found.error_code) == (False, None)


def test_after_a_rollback_a_client_reads_the_fallback_and_why(served: Served, connect: Connect) -> None:
    client = connect(served)
    served.take_to("full")
    assert client.get_boolean_value(NAME, False, user())
    assert served.notify("DriftDetected").status_code == 200
    found = client.get_boolean_details(NAME, True, user())
    assert (found.value, found.variant) == (False, "active")
    assert found.flag_metadata["reason"] == "DriftDetected"


def test_after_a_kill_and_a_restart_it_is_still_off(served: Served, connect: Connect) -> None:
    client = connect(served)
    served.take_to("full")
    served.notify("DriftDetected")
    served.process.kill()
    served.start()
    assert client.get_boolean_value(NAME, True, user()) is False


@pytest.mark.parametrize("default", [True, False])
def test_without_a_control_plane_a_client_falls_to_its_callers_default(
    served: Served, connect: Connect, default: bool
) -> None:
    client = connect(served)
    served.take_to("full")
    served.process.kill()
    found = client.get_boolean_details(NAME, default, user())
    assert (found.value, found.reason, found.error_code) == (default, Reason.ERROR, ErrorCode.GENERAL)


def test_of_an_unknown_flag_a_client_hears_that_it_is_unknown(untouched: Served, connect: Connect) -> None:
    client = connect(untouched)
    found = client.get_boolean_details("nothing", True, user())
    assert (found.value, found.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)


def test_of_another_type_a_client_hears_that_it_is_another(untouched: Served, connect: Connect) -> None:
    client = connect(untouched)
    found = client.get_string_details(NAME, "default", user())
    assert (found.value, found.error_code) == ("default", ErrorCode.TYPE_MISMATCH)
