"""The tests mirror the packages: tests/<package>/test_<module>.py, with what they share in tests/support/."""
