"""The log: append, read, create, delete and fork, each change one script."""
