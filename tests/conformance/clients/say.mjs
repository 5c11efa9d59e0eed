// Reports to the Python test that runs a client: one JSON object a line on stdout.
export function say(report) {
  process.stdout.write(JSON.stringify(report) + "\n")
}
