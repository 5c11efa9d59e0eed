"""The wire formats: what is encoded is decoded by parsers that others wrote."""
