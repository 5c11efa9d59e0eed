"""Spans of the full chain, in a process of their own: OpenTelemetry's provider is set once in a process."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from observability import tracing
from tests.support.deadlines import bound

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, **environment: str) -> str:
    """What a fresh process prints."""
    head = """
        import asyncio, os, sys, django
        from django.conf import settings
        settings.configure(
            SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="tests.observability.test_middleware",
            INSTALLED_APPS=["observability"], OBSERVABILITY={"SERVICE_NAME": "site-under-test"}, LOGGING_CONFIG=None,
            MIDDLEWARE=["observability.middleware.RequestIdMiddleware"],
        )
        django.setup()
    """
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment}
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=bound(20),
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout + process.stderr


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
    ],
)
def test_environment_decides(environ: dict[str, str], expected: bool) -> None:
    """Nothing is traced unless somebody says where to."""
    assert tracing.is_wanted(environ) is expected


def test_without_a_destination_the_chain_stays_as_it_is() -> None:
    """No middleware, no provider, no thread."""
    text = run(
        """
        import threading
        from opentelemetry import trace
        print(settings.MIDDLEWARE, type(trace.get_tracer_provider()).__name__, threading.active_count())
        """
    )
    assert text.strip() == "['observability.middleware.RequestIdMiddleware'] ProxyTracerProvider 1"


def test_console_gets_a_span_with_the_request_id() -> None:
    """A request of the full chain makes one span, below the middleware that gives the id."""
    text = run(
        """
        from tests.observability.test_middleware import ask
        status, headers, body = asyncio.run(ask("/plain", (b"x-request-id", b"client-0001")))
        assert (status, headers[b"X-Request-ID"]) == (200, b"client-0001"), (status, headers)
        assert settings.MIDDLEWARE[0] == "observability.middleware.RequestIdMiddleware"
        assert len(settings.MIDDLEWARE) == 2
        """,
        OTEL_TRACES_EXPORTER="console",
    )
    span = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert span["name"] == "GET plain"
    assert span["attributes"]["request_id"] == "client-0001"
    assert span["resource"]["attributes"]["service.name"] == "site-under-test"


def test_second_setup_changes_nothing() -> None:
    """Whoever calls it again adds no second middleware."""
    text = run(
        """
        from observability import tracing
        print(tracing.setup(), len(settings.MIDDLEWARE))
        """,
        OTEL_TRACES_EXPORTER="console",
    )
    assert "True 2" in text


@pytest.mark.parametrize(
    ("environment", "event"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "tracing.unknown_exporter"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "HIDE": "opentelemetry.exporter.otlp.proto.http.trace_exporter"},
            "tracing.no_exporter",
        ),
    ],
)
def test_destination_that_is_not_there_is_logged_and_the_site_starts(environment: dict[str, str], event: str) -> None:
    """A wrong exporter costs the spans, not the site."""
    text = run(
        """
        import logging
        from observability import tracing
        if "HIDE" in os.environ:
            sys.modules[os.environ["HIDE"]] = None
        print(tracing.setup(environ={"OTEL_TRACES_EXPORTER": os.environ["WANTED"]}), settings.MIDDLEWARE)
        """,
        WANTED=environment.pop("OTEL_TRACES_EXPORTER"),
        **environment,
    )
    assert event in text
    assert "False ['observability.middleware.RequestIdMiddleware']" in text
