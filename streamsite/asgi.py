"""The ASGI application: what every server runs (`serve`, plain daphne, uvicorn)."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

__all__ = ["application"]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamsite.settings")
_full = get_asgi_application()  # sets Django up, which everything below needs

from channels.routing import ProtocolTypeRouter  # noqa: E402

from streamsite.full_chain import FullChain  # noqa: E402
from streamsite.handler import LeanHandler  # noqa: E402
from streamsite.routing import Dispatcher, lifespan, refuse_websocket  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": Dispatcher(lean=LeanHandler(), full=FullChain(_full)),
        "websocket": refuse_websocket,
        "lifespan": lifespan,
    }
)
