// Publishes JSON values with the TypeScript client's idempotent producer, then closes the stream:
// `node durable_streams_publish.mjs <url> <json array>`. Each value is a request of its own, five are under way at once.
import { setTimeout as sleep } from "node:timers/promises"
import { DurableStream, IdempotentProducer } from "@durable-streams/client"
import { say } from "./say.mjs"

const [url, values] = process.argv.slice(2)
const handle = new DurableStream({ url, contentType: "application/json" })

// The producer leaves repeating to its fetch, and needs to see the 409 of a request that overtook another.
async function fetchUntilAnswered(...request) {
  for (;;) {
    try {
      return await fetch(...request)
    } catch (error) {
      say({ lost: String(error) })
      await sleep(20)
    }
  }
}

const producer = new IdempotentProducer(handle, "npm-producer", {
  lingerMs: 0,
  maxBatchBytes: 1,
  fetch: fetchUntilAnswered,
  onError: (error) => say({ failed: String(error) }),
})
for (const value of JSON.parse(values)) producer.append(JSON.stringify(value))
await producer.close()
say({ closed: true })
