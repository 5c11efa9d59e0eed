"""Spans of Django's full chain, where the environment names somewhere to send them; nothing at all otherwise.

The variables are OpenTelemetry's own. The instrumentor's middleware is sync: on the data path it would cost a thread for
each request, and its span would end before the stream begins. It goes into MIDDLEWARE, which the lean handler does not
read. OpenTelemetry is imported only where it is used: 80 modules, 2.6 MB of each worker.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from observability.request_id import request_id

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["is_wanted", "setup"]

MAX_QUEUED_SPANS = 2048
MAX_BATCH_SPANS = 512
EXPORT_EVERY_MS = 5000

_OTLP_MODULE = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

_logger = logging.getLogger("streamsite.tracing")


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for spans."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter != "none" and bool(exporter or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def setup(service_name: str = "streamsite", environ: Mapping[str, str] = os.environ) -> bool:
    """Turn tracing on if it is wanted; call before the handler loads its middleware. A second call changes nothing.

    The queue is bounded: spans that a dead collector does not take are dropped, and nothing waits for it.

    Returns: whether spans are made.
    """
    if not is_wanted(environ):
        # Whoever else has turned it on has imported it.
        django = sys.modules.get("opentelemetry.instrumentation.django")
        return django is not None and bool(django.DjangoInstrumentor().is_instrumented_by_opentelemetry)
    from opentelemetry import trace
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    instrumentor = DjangoInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        return True
    exporter = _make_exporter(environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp")
    if exporter is None:
        return False
    name = environ.get("OTEL_SERVICE_NAME") or service_name
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=MAX_QUEUED_SPANS,
            max_export_batch_size=MAX_BATCH_SPANS,
            schedule_delay_millis=EXPORT_EVERY_MS,
        )
    )
    trace.set_tracer_provider(provider)
    # Below the request id, which the span then carries, and which a request that is refused here gets too.
    instrumentor.instrument(tracer_provider=provider, middleware_position=1, request_hook=_add_request_id)
    return True


def _make_exporter(kind: str) -> SpanExporter | None:
    if kind == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if kind != "otlp":
        _logger.warning("tracing.unknown_exporter", extra={"exporter": kind, "known": ["otlp", "console", "none"]})
        return None
    try:
        module: Any = importlib.import_module(_OTLP_MODULE)
    except ImportError:
        _logger.warning("tracing.no_exporter", extra={"missing": "opentelemetry-exporter-otlp-proto-http"})
        return None
    exporter: SpanExporter = module.OTLPSpanExporter()
    return exporter


def _add_request_id(span: trace.Span, _request: object) -> None:
    span.set_attribute("request_id", request_id.get())
