// The protocol's own conformance suite against a server that runs already; test_suite.py starts it and counts.
// The variable must not be named BASE_URL: vitest overwrites that one.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

runConformanceTests({
  baseUrl: process.env.CONFORMANCE_URL,
  longPollTimeoutMs: Number(process.env.CONFORMANCE_LONG_POLL_MS),
  subscriptions: false, // sections 6 and 7: 6 tests, skipped
})
