"""Live reading: one subscription for a process, a window of recent events for each followed stream."""
