"""The metrics: closed label sets, cached children, and a description for each."""

from __future__ import annotations

import re
from http import HTTPMethod

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter

from observability import metrics
from observability.metrics import Family
from streaming.api.negotiation import Form
from streaming.api.problems import TITLES
from streaming.ends import EndReason


def exported() -> dict[str, str]:
    """The type of each exported metric, by the name that samples and rows carry."""
    kinds = {}
    for family in prometheus_client.REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kinds[name] = family.type
    return kinds


def value(name: str, **labels: str) -> float:
    """One sample of the default registry."""
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture(name="family")
def family_fixture() -> Family[Counter]:
    """A family outside the default registry."""
    return Family(Counter("taken", "Taken.", ["reason"], registry=CollectorRegistry()), ["one_two", "three"])


def test_known_label_gives_the_same_child(family: Family[Counter]) -> None:
    """A child is made once, and a slug with hyphens means the same."""
    assert family.labels("one_two") is family.labels("one-two")
    assert family.labels("one_two") is not family.labels("three")


def test_unknown_labels_share_one_child(family: Family[Counter]) -> None:
    """A hundred thousand foreign values add one series and keep nothing."""
    children = {id(family.labels(f"made-up-{number}")) for number in range(1000)}
    assert children == {id(family.labels("other"))}
    assert len(family._children) == 3


def test_every_description_is_exported_as_it_says() -> None:
    """Each row of the reference page is a metric of that name and type, and each of our metrics has a row."""
    rows = {row.name: row.type for row in metrics.describe() if not row.name.startswith("stream_worker")}
    # Those of the supervisor are there where one runs: tests/observability/test_workers.py.
    ours = {name: kind for name, kind in exported().items() if name.startswith("stream_")}
    assert rows == ours


def test_every_description_reads_like_one() -> None:
    """Names have base units, counters end with _total, and help is a sentence."""
    for row in metrics.describe():
        assert re.fullmatch(r"stream_[a-z_]+[a-z]", row.name)
        assert (row.type == "counter") == row.name.endswith("_total")
        assert row.help.endswith(".")
        assert "_ms" not in row.name


@pytest.mark.parametrize("reason", EndReason)
def test_every_end_of_a_reader_has_its_label(reason: EndReason) -> None:
    """No way to end is counted as `other`."""
    assert metrics.readers_ended.labels(reason.value) is not metrics.readers_ended.labels("other")


@pytest.mark.parametrize("form", Form)
def test_every_form_of_delivery_has_its_label(form: Form) -> None:
    """No wire format is counted as `other`."""
    assert metrics.events_out.labels(form.value) is not metrics.events_out.labels("other")


@pytest.mark.parametrize("slug", ["store-full", "outcome-unknown", "too-large", "producer-epoch-start", "bad-json"])
def test_refusals_have_their_label(slug: str) -> None:
    """What operators ask for by name is not counted as `other`."""
    assert metrics.append_rejected.labels(slug) is not metrics.append_rejected.labels("other")


def test_reasons_of_refusals_are_problem_types() -> None:
    """A reason can be looked up in the list of problems."""
    assert {name.replace("_", "-") for name in metrics._REJECTIONS} <= TITLES.keys()


def test_request_is_counted_by_method_and_status() -> None:
    """One request adds one to its own series and one observation."""
    before = value("stream_http_requests_total", method="GET", status="404")
    seen = value("stream_request_seconds_count", method="GET")
    metrics.count_request("GET", 404, 0.002)
    assert value("stream_http_requests_total", method="GET", status="404") == before + 1
    assert value("stream_request_seconds_count", method="GET") == seen + 1


def test_request_with_invented_method_is_counted_as_other() -> None:
    """A thousand made-up methods and statuses are one series each."""
    before = value("stream_http_requests_total", method="OTHER", status="OTHER")
    for number in range(1000):
        metrics.count_request(f"BREW{number}", 600 + number, 0.0)
    assert value("stream_http_requests_total", method="OTHER", status="OTHER") == before + 1000


def test_all_series_together_stay_few() -> None:
    """With every label in use a scrape of our metrics stays below the 2,000 series that a fuzz run may reach."""
    for method in [*HTTPMethod, "BREW"]:
        for status in range(100, 700):
            metrics.count_request(method, status, 0.0)
    ours = sum(
        len(family.samples) for family in prometheus_client.REGISTRY.collect() if family.name.startswith("stream_")
    )
    assert ours < 2000
