"""Wire formats: pure functions from events to bytes and from bodies to events; no I/O, no Django."""
