from __future__ import annotations


class Http2Connection: ...
