"""Faults on purpose: what the site must do when what it stands on breaks."""
