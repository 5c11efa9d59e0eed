// The page that shows one stream. A plain module: no build step, no dependency.
//
// EventSource says when there is something new, and resumes by itself. It hands out only events of types that the page
// knows beforehand, and no times, so what is shown is read as NDJSON from the last shown offset on; thus nothing can be
// missing between the two, and live, older and missed events come the same way.
//
// The rows are a window onto the stream: `position` is the offset of the last one. While the window is `live` its end is
// the stream's, and new events are put below. Scrolling to the top puts older ones above and, once there are many, takes
// the newest away; then scrolling down reads forward again until the end is reached.
//
// Names, types and data are anybody's: they enter the page by textContent only.

const PAGE_ROWS = 200
const MAX_ROWS = 2000 // what a phone scrolls smoothly
const PREVIEW_CHARACTERS = 400
const MAX_PAGES_BACK = 64 // to find what comes before a fork, or before a loss
const MAX_PAGES_BEHIND = 8 // pages of 1 MiB; then reading every event would only fall further behind
const RETRY_MS = { first: 1000, most: 15000 }
const BEGINNING = "The beginning of the stream."
const LOSSES = {
  "stream-rewound":
    "The stream went back: events that were shown here are no longer in the log. This is what it holds now.",
  "offset-gone": "Events that were not shown yet were removed by retention. This is what the stream holds now.",
}

const streamUrl = document.body.dataset.streamUrl
const streamName = document.querySelector("h1").textContent
const element = (id) => document.getElementById(id)
const [log, rows, past, end, notice, unseen] = ["log", "rows", "past", "end", "notice", "unseen"].map(element)

let source = null // the EventSource
let session = 0 // rises with every new start; what an older one still receives is thrown away
let retryMs = RETRY_MS.first
let isJson = false
let ndjson = "" // how we ask for it
let position = "-1"
let newest = "" // what the server has told us of; text order is the order of offsets
let isUpToDate = false // the last page that was read went to the end
let live = true
let paused = false
let isUnseen = false // rows were put below what is in sight
let closed = false
let connection = "connecting"
let readingFor = 0 // the session that reads forward now
let readingPast = false
let pastText = "" // once there is nothing older to read: why

// States, in words

const STATES = {
  connecting: "Connecting…",
  open: "Live",
  lost: "Connection lost, trying again…",
  missing: "There is no stream of this name yet. Waiting for it…",
  closed: "Closed: nothing more will come",
  gone: "The stream was deleted",
  refused: "Not readable",
  paused: "Paused",
}

const EMPTY = {
  open: "No events yet.",
  paused: "No events yet.",
  closed: "It has no events.",
  missing: "Its events will appear here.",
}

function showState() {
  // What is written here changes the height: who was at the bottom stays there.
  const stay = isAtBottom(), height = log.scrollHeight
  const isUnread = hasUnread()
  const isEmpty = !rows.childElementCount
  const isOver = connection === "gone" || connection === "refused"
  const key = isOver ? connection : closed ? "closed" : paused ? "paused" : connection
  const text = key === "paused" && isUnread ? "Paused, new events are waiting" : STATES[key]
  const state = element("state")
  if (state.textContent !== text) state.textContent = text
  state.dataset.state = key
  document.title = `${streamName} · ${text}`
  if (isAtBottom()) isUnseen = false
  unseen.hidden = paused || isAtBottom() || !(isUnread || isUnseen)
  end.textContent = closed && !isUnread ? "The stream is closed." : ""
  if (readingPast) past.textContent = "Reading older events…"
  else if (!isEmpty) past.textContent = pastText
  else past.textContent = EMPTY[key] ?? ""
  element("pause").disabled = isOver || closed
  if (stay && log.scrollHeight !== height) log.scrollTop = log.scrollHeight
}

function say(text) {
  notice.firstElementChild.textContent = text
  notice.hidden = !text
}

// Reading

class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The server answered ${status}.`)
    this.status = status
    this.problem = problem
    this.slug = (problem.type || "").split("/").pop()
  }
}

async function ask(method, query, accept) {
  const response = await fetch(streamUrl + query, { method, headers: { Accept: accept }, cache: "no-store" })
  if (response.ok) return response
  throw new Refusal(response.status, await response.json().catch(() => ({})))
}

async function readPage(query) {
  const response = await ask("GET", query, ndjson)
  const lines = (await response.text()).split("\n")
  return {
    events: lines.filter((line) => line).map(parseLine).filter((event) => event),
    next: response.headers.get("Stream-Next-Offset"),
    isUpToDate: response.headers.has("Stream-Up-To-Date"),
    isClosed: response.headers.get("Stream-Closed") === "true",
  }
}

function parseLine(line) {
  const record = JSON.parse(line)
  if (record.error) {
    return { ...record, type: "damaged", text: record.error.detail || record.error.title || "", isTrouble: true }
  }
  if (!("data" in record)) return null
  // A JSON value is shown as it was sent: parsed and written again, large numbers lose digits.
  const text = isJson ? line.slice(line.indexOf(',"data":') + 8, -1) : String(record.data)
  return { ...record, text }
}

async function start() {
  const mine = ++session
  source?.close()
  source = null
  closed = false
  connection = "connecting"
  showState()
  try {
    const head = await ask("HEAD", "", "*/*")
    const contentType = head.headers.get("Content-Type") || ""
    isJson = contentType.startsWith("application/json")
    // A stream of NDJSON text is given out raw to whoever asks for the very type it has: ask by the other name.
    ndjson = contentType.startsWith("application/x-ndjson") ? "application/ndjson" : "application/x-ndjson"
    const page = await readPage(`?tail=${PAGE_ROWS}`)
    if (mine !== session) return
    rows.replaceChildren()
    pastText = page.events.length < PAGE_ROWS && page.isUpToDate ? BEGINNING : ""
    position = newest = page.next
    isUpToDate = page.isUpToDate
    live = true
    put(page.events, false)
    closed = page.isClosed && isUpToDate
    log.scrollTop = log.scrollHeight
    if (closed) connection = "open"
    else listen()
    await readOn(mine)
  } catch (error) {
    if (mine === session) fail(error)
  }
}

// Live

function listen() {
  const mine = session
  source = new EventSource(`${streamUrl}?offset=${encodeURIComponent(position)}&live=sse`)
  source.onopen = opened
  source.addEventListener("control", (event) => {
    const control = JSON.parse(event.data)
    if (control.streamNextOffset > newest) newest = control.streamNextOffset
    if (control.streamClosed) {
      closed = true
      source.close() // it would come back once more, to be told so
    }
    readOn(mine)
  })
  for (const report of ["stream-rewound", "stream-gone"]) source.addEventListener(report, () => recheck(mine))
  source.onerror = () => {
    if (mine !== session || closed) return
    connection = "lost"
    showState()
    if (source.readyState === EventSource.CLOSED) recheck(mine)
  }
}

function opened() {
  if (connection !== "open" && retryMs > RETRY_MS.first) say("")
  connection = "open"
  retryMs = RETRY_MS.first
  showState()
}

// EventSource was refused and does not say why; a request of our own can tell.
async function recheck(mine) {
  source?.close()
  try {
    await readForward(mine)
    if (mine === session) retry(listen)
  } catch (error) {
    if (mine === session) fail(error)
  }
}

async function readOn(mine) {
  showState()
  if (readingFor === mine) return
  readingFor = mine
  try {
    for (let pages = 0; mine === session && live && !paused && hasUnread(); pages++) {
      if (pages === MAX_PAGES_BEHIND) start()
      else await readForward(mine)
    }
    if (mine === session && source?.readyState === EventSource.OPEN) opened()
  } catch (error) {
    if (mine === session) fail(error)
  } finally {
    if (readingFor === mine) readingFor = 0
    showState()
  }
}

async function readForward(mine) {
  const from = position
  const page = await readPage(`?offset=${encodeURIComponent(from)}`)
  // Meanwhile the window's end may have moved, or the reader has paused.
  if (mine !== session || paused || position !== from) return
  if (page.next > newest) newest = page.next
  const taken = page.events.slice(0, live ? undefined : PAGE_ROWS)
  const isWhole = taken.length === page.events.length
  position = isWhole ? page.next : taken.at(-1).offset
  isUpToDate = isWhole && page.isUpToDate
  if (isUpToDate) {
    newest = position
    live = true
    closed ||= page.isClosed
  }
  put(taken, live)
}

function hasUnread() {
  return newest > position || (connection !== "connecting" && !isUpToDate)
}

function fail(error) {
  const isListening = source && source.readyState !== EventSource.CLOSED
  const again = isListening ? () => readOn(session) : rows.childElementCount ? () => recheck(session) : start
  if (!(error instanceof Refusal)) {
    connection = "lost"
    retry(again)
  } else if (error.slug in LOSSES) {
    say(LOSSES[error.slug])
    start()
    return
  } else if (error.status >= 500 || error.status === 429) {
    connection = "lost"
    say(error.message)
    retry(again)
  } else {
    source?.close()
    source = null
    connection = error.status === 404 ? "missing" : error.status === 410 ? "gone" : "refused"
    if (connection === "missing") retry(start)
    if (connection === "refused") say(error.message)
  }
  showState()
}

function retry(again) {
  const mine = session
  setTimeout(() => mine === session && again(), retryMs * (0.75 + Math.random() / 2))
  retryMs = Math.min(retryMs * 1.6, RETRY_MS.most)
}

// The past

async function readPast() {
  const mine = session
  const first = rows.firstElementChild?.dataset.offset
  if (readingPast || pastText || !first) return
  readingPast = true
  showState()
  try {
    const before = await eventsBefore(first)
    if (mine !== session || rows.firstElementChild.dataset.offset !== first) return
    const distance = log.scrollHeight - log.scrollTop
    pastText = before.end
    rows.prepend(...before.events.map((event) => makeRow(event)))
    log.scrollTop = log.scrollHeight - distance // what was in sight stays where it was
    if (drop("lastElementChild")) {
      live = isUpToDate = false
      position = rows.lastElementChild.dataset.offset
    }
  } catch (error) {
    say(error.message)
  } finally {
    readingPast = false
    showState()
  }
}

// Offsets are opaque to clients of the protocol; this page comes with the server and knows that they count.
async function eventsBefore(first) {
  const [generation, sequence] = first.split("_")
  const back = Number(sequence) - 1 - PAGE_ROWS
  let from = back > 0 ? `${generation}_${String(back).padStart(sequence.length, "0")}` : "-1"
  let end = from === "-1" ? BEGINNING : ""
  let events = []
  let isDone = false
  for (let pages = 0; !isDone; pages++) {
    if (pages === MAX_PAGES_BACK) return { events: [], end: "Older events are too far away for this page." }
    try {
      const page = await readPage(`?offset=${encodeURIComponent(from)}`)
      const older = page.events.filter((event) => event.offset < first)
      isDone = older.length < page.events.length || page.isUpToDate || page.next >= first
      events = events.concat(older)
      from = page.next
    } catch (error) {
      const earliest = error instanceof Refusal && error.slug === "offset-gone" && error.problem.earliest_offset
      if (!earliest || earliest === from) throw error
      from = earliest
      end = "Older events were removed by retention."
    }
    if (events.length > PAGE_ROWS) {
      // A generation begins where a fork or a loss was; what comes before is read from the start, and the last of it kept.
      events = events.slice(-PAGE_ROWS)
      end = ""
    }
  }
  return { events, end }
}

// Rows

function put(events, isNew) {
  const stay = isAtBottom()
  let fresh = events
  if (live && !stay && rows.childElementCount + events.length > MAX_ROWS) {
    // Somebody reads further up: nothing is taken away there, so the window ends here for now.
    fresh = events.slice(0, Math.max(0, MAX_ROWS - rows.childElementCount))
    live = isUpToDate = false
    position = fresh.at(-1)?.offset ?? rows.lastElementChild.dataset.offset
  }
  rows.append(...fresh.slice(-MAX_ROWS).map((event) => makeRow(event, isNew)))
  const height = log.scrollHeight
  if (drop("firstElementChild")) pastText = ""
  if (live && stay) log.scrollTop = log.scrollHeight
  else log.scrollTop -= height - log.scrollHeight
  if (isNew && !stay && fresh.length) isUnseen = true
}

function drop(side) {
  const isAny = rows.childElementCount > MAX_ROWS
  while (rows.childElementCount > MAX_ROWS) {
    if (rows[side].contains(document.activeElement)) log.focus()
    rows[side].remove()
  }
  return isAny
}

function make(tag, className, text) {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text !== undefined) made.textContent = text
  return made
}

function makeRow(event, isNew = false) {
  const row = make("li")
  row.dataset.offset = event.offset
  row.classList.toggle("new", isNew)
  row.classList.toggle("trouble", Boolean(event.isTrouble))
  const details = make("details")
  const summary = make("summary")
  summary.append(makeTime(event.time), makeOffset(event.offset), makeType(event), make("code", "data", preview(event)))
  details.append(summary)
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && expand(details, event))
  row.append(details)
  return row
}

function makeTime(text) {
  const time = make("time")
  if (!text) return time
  const date = new Date(text)
  const two = (number) => String(number).padStart(2, "0")
  time.dateTime = text
  time.title = text
  time.textContent =
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}` +
    `.${String(date.getMilliseconds()).padStart(3, "0")}`
  return time
}

// In parts, of which a narrow screen shows the last; together they are the offset, and are copied as such.
function makeOffset(offset) {
  const [, lead, number] = /^(.*?_0*)(.*)$/s.exec(offset) || [null, "", offset]
  const made = make("span", "offset")
  made.title = offset
  made.append(make("span", "lead", lead), number)
  return made
}

function makeType(event) {
  const made = make("span", "type", event.type)
  made.title = event.type
  made.dataset.plain = String(event.type === "message")
  return made
}

function preview(event) {
  if (event.encoding === "base64") return `base64 ${event.text.slice(0, PREVIEW_CHARACTERS)}`
  const start = event.text.slice(0, PREVIEW_CHARACTERS * 2)
  const line = isJson && !event.isTrouble ? compact(start) : start.replace(/\r\n|\r|\n/g, " ↵ ")
  return line.length > PREVIEW_CHARACTERS || start.length < event.text.length
    ? `${line.slice(0, PREVIEW_CHARACTERS)}…`
    : line
}

function expand(details, event) {
  const facts = make("dl")
  const bytes = event.encoding === "base64" ? atob(event.text).length : new TextEncoder().encode(event.text).length
  for (const [name, value] of [
    ["offset", event.offset],
    ["time", event.time],
    ["type", event.type],
    ["size", `${bytes.toLocaleString("en")} bytes${event.encoding ? `, ${event.encoding}` : ""}`],
  ]) {
    if (value) facts.append(make("dt", "", name), make("dd", "", value))
  }
  const text = isJson && !event.isTrouble ? pretty(event.text) : event.text
  details.append(facts, make("pre", "", text))
  details.scrollIntoView({ block: "nearest" })
}

// JSON as text: white space is moved, no token is touched.
const STRING = /"(?:[^"\\]|\\.)*"/s
const DEEPEST_INDENT = 40

function compact(json) {
  return json.replace(new RegExp(`(${STRING.source})|\\s+`, "gs"), (_, string) => string ?? "")
}

function pretty(json) {
  let depth = 0
  const line = () => `\n${"  ".repeat(Math.min(depth, DEEPEST_INDENT))}`
  return compact(json).replace(new RegExp(`${STRING.source}|\\[\\]|\\{\\}|[[\\]{},:]`, "gs"), (token) => {
    if (token === "{" || token === "[") depth++
    else if (token === "}" || token === "]") depth--
    if (token === "{" || token === "[" || token === ",") return token + line()
    if (token === "}" || token === "]") return line() + token
    return token === ":" ? ": " : token
  })
}

// What people do

function isAtBottom() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40
}

function togglePause() {
  if (element("pause").disabled) return
  paused = !paused
  const button = element("pause")
  button.setAttribute("aria-pressed", String(paused))
  button.textContent = paused ? "Resume" : "Pause"
  showState()
  if (!paused) readOn(session)
}

function goToNewest() {
  if (paused) togglePause()
  if (live) log.scrollTop = log.scrollHeight
  else start()
}

let isForwardRead = false
async function onScroll() {
  showState()
  if (log.scrollTop < log.clientHeight) readPast()
  if (live || paused || isForwardRead || !isAtBottom()) return
  isForwardRead = true
  try {
    await readForward(session)
  } catch (error) {
    fail(error)
  } finally {
    isForwardRead = false
    showState()
  }
}

function moveFocus(step) {
  const current = document.activeElement.closest?.("#rows > li")
  const row = current ? current[step > 0 ? "nextElementSibling" : "previousElementSibling"] : rows.lastElementChild
  row?.querySelector("summary").focus()
}

const KEYS = {
  p: togglePause,
  j: () => moveFocus(1),
  k: () => moveFocus(-1),
  Home: () => {
    log.scrollTop = 0
    readPast()
  },
  End: goToNewest,
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return
  event.preventDefault()
  KEYS[event.key]()
})
log.addEventListener("scroll", onScroll, { passive: true })
element("pause").addEventListener("click", togglePause)
element("newest").addEventListener("click", goToNewest)
unseen.addEventListener("click", goToNewest)
notice.lastElementChild.addEventListener("click", () => say(""))
start()
