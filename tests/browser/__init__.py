"""Chromium against the real server: its native EventSource, and the page that shows a stream."""
