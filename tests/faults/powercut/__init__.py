"""A power cut, simulated: what was not flushed is gone."""
