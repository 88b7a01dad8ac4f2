"""A real OpenFeature client that asks the control plane itself, by OFREP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

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

Read = Callable[..., bool]


@pytest.fixture
def client(served: Served) -> Iterator[OpenFeatureClient]:
    provider = OFREPProvider(served.url, timeout=5.0)
    api.set_provider(provider)
    yield api.get_client()
    provider.session.close()
    api.clear_providers()


def user(key: str = "user-1") -> EvaluationContext:
    return EvaluationContext(targeting_key=key)


def test_before_its_start_a_client_reads_the_fallback(client: OpenFeatureClient) -> None:
    found = client.get_boolean_details(NAME, True, user())
    assert (found.value, found.variant, found.error_code) == (False, "active", None)


def test_fully_on_a_client_reads_the_served_variant(served: Served, client: OpenFeatureClient) -> None:
    served.take_to("full")
    found = client.get_boolean_details(NAME, False, user())
    assert (found.value, found.variant, found.reason) == (True, "candidate", Reason.STATIC)
    assert found.flag_metadata["position"] == "full"


def test_in_a_canary_a_share_of_clients_reads_the_served_variant(
    served: Served, client: OpenFeatureClient
) -> None:
    served.take_to("canary")
    in_canary = [key for key in USERS if client.get_boolean_value(NAME, False, user(key))]
    assert 10 <= len(in_canary) <= 60
    assert all(client.get_boolean_value(NAME, False, user(key)) for key in in_canary)


def test_a_client_without_a_targeting_key_reads_the_fallback(
    served: Served, client: OpenFeatureClient
) -> None:
    served.take_to("canary")
    found = client.get_boolean_details(NAME, True, EvaluationContext(attributes={"country": "ch"}))
    assert (found.value, found.error_code) == (False, None)


def test_after_a_rollback_a_client_reads_the_fallback_and_why(
    served: Served, client: OpenFeatureClient
) -> None:
    served.take_to("full")
    assert client.get_boolean_value(NAME, False, user())
    assert served.notify("WinRateDrop").status_code == 200
    found = client.get_boolean_details(NAME, True, user())
    assert (found.value, found.variant) == (False, "active")
    assert found.flag_metadata["reason"] == "WinRateDrop"


def test_after_a_kill_and_a_restart_it_is_still_off(served: Served, client: OpenFeatureClient) -> None:
    served.take_to("full")
    served.notify("WinRateDrop")
    served.process.kill()
    served.start()
    assert client.get_boolean_value(NAME, True, user()) is False


@pytest.mark.parametrize("default", [True, False])
def test_without_a_control_plane_a_client_falls_to_its_callers_default(
    served: Served, client: OpenFeatureClient, default: bool
) -> None:
    served.take_to("full")
    served.process.kill()
    found = client.get_boolean_details(NAME, default, user())
    assert (found.value, found.reason, found.error_code) == (default, Reason.ERROR, ErrorCode.GENERAL)


def test_of_an_unknown_flag_a_client_hears_that_it_is_unknown(client: OpenFeatureClient) -> None:
    found = client.get_boolean_details("nothing", True, user())
    assert (found.value, found.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)


def test_of_another_type_a_client_hears_that_it_is_another(client: OpenFeatureClient) -> None:
    found = client.get_string_details(NAME, "default", user())
    assert (found.value, found.error_code) == ("default", ErrorCode.TYPE_MISMATCH)
