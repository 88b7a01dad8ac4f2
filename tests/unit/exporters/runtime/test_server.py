from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from rollguard.exporters.exposition.families import Family, by_label, single
from rollguard.exporters.runtime.intake import REJECTED
from rollguard.exporters.runtime.server import ListenError, MetricsServer
from rollguard.metric import Metric

TEMPERATURE = Metric("temperature", "gauge", "Of the room.")
PEOPLE = Metric("people", "gauge", "Who is in the room & how long.", ("name",))


class Room:
    def __init__(self) -> None:
        self.value = 20.0
        self.waits_for = ""
        self.people = {"Ann": 3.0, "Bob": 1.0}
        self.rejected = {"shape": 3, "late": 0}

    def families(self) -> Iterator[Family]:
        if self.value < -273.15:
            raise ValueError("colder than cold")
        yield single(TEMPERATURE, self.value)
        yield by_label(PEOPLE, self.people)
        yield by_label(REJECTED, self.rejected)

    def behind(self) -> str:
        return self.waits_for

    def status(self) -> list[str]:
        return ["thermometer: <pt100> is read"]


class Served:
    def __init__(self) -> None:
        self.room = Room()
        self.server = MetricsServer("127.0.0.1:0", self.room, "A <room>")

    def get(self, path: str = "/metrics", accept: str = "*/*", encoding: str = "identity") -> httpx.Response:
        url = self.server.url.removesuffix("/metrics") + path
        return httpx.get(url, headers={"Accept": accept, "Accept-Encoding": encoding})


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    with served.server:
        yield served


def test_every_scrape_is_fresh(served: Served) -> None:
    assert "temperature 20.0\n" in served.get().text
    served.room.value = 21.5
    assert "temperature 21.5\n" in served.get().text


def test_a_label_that_is_gone_is_gone_at_the_next_scrape(served: Served) -> None:
    assert 'people{name="Bob"} 1.0\n' in served.get().text
    del served.room.people["Bob"]
    assert "Bob" not in served.get().text
    assert 'people{name="Ann"} 3.0\n' in served.get().text


def test_a_counter_whose_label_comes_later_begins_at_zero(served: Served) -> None:
    assert 'rejected_total{reason="shape"} 3.0\n' in served.get().text
    served.room.rejected["syntax"] = 1
    assert 'rejected_total{reason="syntax"} 0.0\n' in served.get().text
    assert 'rejected_total{reason="syntax"} 1.0\n' in served.get().text


def test_the_form_is_the_one_asked_for(served: Served) -> None:
    plain, modern = served.get(), served.get(accept="application/openmetrics-text; version=1.0.0")
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "temperature 20.0\n" in modern.text
    assert modern.text.endswith("\n# EOF\n")


def test_it_is_compressed_for_who_can_read_that(served: Served) -> None:
    plain, compressed = served.get(), served.get(encoding="gzip")
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert compressed.text == plain.text


def test_behind_is_unavailable_and_says_why(served: Served) -> None:
    served.room.waits_for = "Catching up."
    response = served.get()
    assert (response.status_code, response.text) == (503, "Catching up.\n")
    served.room.waits_for = ""
    assert served.get().status_code == 200


def test_a_person_finds_the_way(served: Served) -> None:
    served.room.waits_for = "Catching up with <events>."
    page = served.get("/")
    assert page.status_code == 200
    assert "A &lt;room&gt;" in page.text
    assert "with &lt;events&gt;." in page.text
    assert 'href="/metrics"' in page.text
    assert "thermometer: &lt;pt100&gt; is read" in page.text


def test_the_page_lists_what_is_offered_and_what_was_passed_over(served: Served) -> None:
    found = served.get("/").text
    assert "passed over: 3 shape</li>" in found
    assert "<td>people{name}</td><td>gauge</td><td>2</td><td>Who is in the room &amp; how long.</td>" in found
    served.room.people.clear()
    served.room.rejected.clear()
    found = served.get("/").text
    assert "<td>people{name}</td><td>gauge</td><td>silent</td>" in found
    assert "passed over: nothing</li>" in found


def test_another_path_is_not_found(served: Served) -> None:
    assert served.get("/other").status_code == 404
    assert served.get("/metrics?name=x").status_code == 200


def test_a_collector_that_fails_gives_no_half_answer_and_stops_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.room.value = -300
    assert served.get().status_code == served.get("/").status_code == 500
    assert "colder than cold" in caplog.text
    served.room.value = 20
    assert served.get().status_code == 200


def test_a_taken_port_is_an_error_that_names_it(served: Served) -> None:
    address = served.server.url.removeprefix("http://").removesuffix("/metrics")
    with pytest.raises(ListenError, match=f"cannot listen on {address}: Address already in use"):
        MetricsServer(address, served.room, "")


@pytest.mark.parametrize("listen", ["", "9841", "localhost", ":9841", "localhost:http", "localhost:70000"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ListenError, match="Write host:port"):
        MetricsServer(listen, Room(), "")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_is_written_in_brackets() -> None:
    try:
        server = MetricsServer("[::1]:0", Room(), "")
    except ListenError:
        pytest.skip("no IPv6 loopback here")
    with server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(server.url).status_code == 200
