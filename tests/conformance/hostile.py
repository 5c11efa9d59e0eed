"""Data and types that break parsers: each must reach a reader as it was sent, and none may forge an event."""

from __future__ import annotations

import json

__all__ = ["JSON_TEXTS", "JSON_VALUES", "TEXTS", "TYPES"]

TEXTS = (
    "plain",
    " a space first and last ",
    "two\nlines",
    "\n",
    "\n\nbreaks first and last\n\n",
    "data: forged\n\nid: 1\nevent: forged\ndata: forged\n\n",
    ": a comment\nretry: 1\n",
    "line separator \u2028 paragraph separator \u2029 next line \x85 are not line ends",
    "\ufeffa byte order mark first",
    "a NUL \x00 inside, an escape \x1b[31m, a DEL \x7f",
    "accents é, ideographs 漢字, right to left שלום, an emoji \U0001f469\u200d\U0001f680, a combining e\u0301",
    '<img src=x onerror="alert(1)"></script><script>alert(2)</script>{{7*7}}',
    "[DONE]",
    "x" * 3000,
)
"""Without CR, which server-sent events can't carry: it arrives as LF."""
TYPES = ("message", "tick", "Größe", "a b", "constructor", "</script>")
"""What appends name their events here, in turn."""

JSON_VALUES = tuple({"number": number, "text": TEXTS[number % len(TEXTS)]} for number in range(70))
"""For clients that parse: more than they get before the last of the cuts."""
JSON_TEXTS = (
    *(json.dumps(value, ensure_ascii=False) for value in JSON_VALUES),
    '{"big": 12345678901234567890.123456789012345678901234567890}',
    '{\n  "spaced": "out",\n\n  "over": ["four", "lines"]\n}',
)
"""For clients that hand on what they get: digits and layout are the sender's."""
