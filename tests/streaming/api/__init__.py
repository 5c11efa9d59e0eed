"""Tests of streaming/api/."""
