"""What other people wrote, run against the real server: the protocol's suite and its clients."""
