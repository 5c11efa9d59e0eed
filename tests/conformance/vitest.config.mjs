// One worker, one pass, no retries: a test that fails now and then is a finding about the server.
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["suite.test.mjs"],
    fileParallelism: false,
    retry: 0,
    // The suite gives its own bounds to what it measures; this one only ends a test that hangs on a slow machine.
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
