"""/metrics beside everything else, where the settings open it."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from observability.conf import ObservabilitySettings
from observability.workers import registry

__all__ = ["metrics", "urlpatterns"]


@require_safe
async def metrics(_request: HttpRequest) -> HttpResponse:
    """Every metric in Prometheus' text format.

    Raises: Http404: the settings do not open it; a page that is not for everyone does not say that it is there.
    """
    # Async, so that the full chain needs no thread for it: a scrape must succeed when the threads are all taken.
    if not ObservabilitySettings.from_django(getattr(settings, "OBSERVABILITY", {})).metrics_open:
        raise Http404
    return HttpResponse(generate_latest(registry()), content_type=CONTENT_TYPE_LATEST)


urlpatterns = [path("metrics", metrics, name="metrics")]
