// The reference Durable Streams server: node reference.mjs PORT [DIRECTORY]
// Without a directory its log is in memory, with one in files.
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, dataDir] = process.argv.slice(2)
const server = new DurableStreamTestServer({ port: Number(port), host: "127.0.0.1", dataDir })
await server.start()
process.on("SIGTERM", () => process.exit(0))
