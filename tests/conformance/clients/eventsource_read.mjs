// Reads with the npm package `eventsource` until the server makes it stop: `node eventsource_read.mjs <url> <type>…`.
import { EventSource } from "eventsource"
import { say } from "./say.mjs"

const [url, ...types] = process.argv.slice(2)
const source = new EventSource(url)
for (const type of new Set(["message", ...types])) {
  source.addEventListener(type, (event) => say({ id: event.lastEventId, type: event.type, data: event.data }))
}
source.onopen = () => say({ open: true })
source.onerror = (event) => say({ lost: event.message ?? "", code: event.code ?? null, state: source.readyState })
