// Reads a stream to its end with the protocol's TypeScript client: `node durable_streams_read.mjs <url> <live> <json|bytes>`.
// A connection that breaks ends the client's session; an application then goes on from the last offset it was given.
import { stream } from "@durable-streams/client"
import { say } from "./say.mjs"

const [url, live, kind] = process.argv.slice(2)
const backoffOptions = { initialDelay: 50, maxDelay: 500, multiplier: 1.5 }
const lastBatchMs = 2000
let offset = "-1"
let closed = false

async function session() {
  const response = await stream({ url, offset, live, json: kind === "json", backoffOptions })
  let leave, patience
  const end = new Promise((resolve) => {
    const take = (batch) => {
      if (kind === "json") for (const item of batch.items) say({ item })
      else say({ bytes: Buffer.from(batch.data).toString("base64") })
      offset = batch.offset
      closed = batch.streamClosed
      if (closed) resolve()
    }
    leave = kind === "json" ? response.subscribeJson(take) : response.subscribeBytes(take)
  })
  try {
    // `closed` resolves once the last answer has come, which may be before its batch is handed on.
    await response.closed
    await Promise.race([end, new Promise((resolve) => (patience = setTimeout(resolve, lastBatchMs)))])
  } finally {
    clearTimeout(patience)
    // A session whose answer broke off has asked for the next one already, and would deliver it: end it for good.
    leave()
  }
}

while (!closed) await session().catch((error) => say({ lost: String(error) }))
