"""The HTTP interface: Durable Streams 1.0 under /v1/stream/, and what browsers and operators use beside it."""
