// The script of cpm review's page: shows a sample, takes keys, and goes on when a verdict is written.

interface State {
  readonly total: number;
  readonly counts: Readonly<Record<"keep" | "drop" | "unsure", number>>;
  /** The first sample without a verdict; `total` when there is none. */
  readonly open: number;
}
interface Call {
  readonly function?: { readonly name?: string; readonly arguments?: unknown };
}
interface Message {
  readonly role?: unknown;
  readonly content?: unknown;
  readonly reasoning_content?: unknown;
  readonly tool_calls?: unknown;
}
interface Shown {
  readonly state: State;
  readonly index: number;
  readonly line: number;
  readonly record: Readonly<Record<string, unknown>>;
  readonly verdict: "keep" | "drop" | "unsure" | null;
  readonly note: string;
}

const token = location.hash.slice(1);
const find = (id: string): HTMLElement => document.getElementById(id)!;
const [place, counts, status, sample] = ["place", "counts", "status", "sample"].map(find) as [
  HTMLElement,
  HTMLElement,
  HTMLElement,
  HTMLElement,
];
const bar = find("progress") as HTMLProgressElement;
const note = find("note") as HTMLInputElement;

let at = 0;
let shown: Shown | undefined;
let [tools, provenance, busy] = [false, false, false];

/** What nobody sees, and what turns text about, by its number. What joins and varies letters and emoji stays. */
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const seen = (text: string): string =>
  text.replace(HIDDEN, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

function element(name: string, text = "", kind = ""): HTMLElement {
  const made = document.createElement(name);
  made.textContent = seen(text);
  if (kind) made.className = kind;
  return made;
}

const pretty = (value: unknown): string => {
  if (typeof value !== "string") return JSON.stringify(value, null, 2) ?? "";
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
};
const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

/** A turn: what it thinks, says and calls. */
function turn({ role, content, reasoning_content: thought, tool_calls: calls }: Message): HTMLElement {
  const section = element("section", "", role === "assistant" ? "assistant" : "");
  section.append(element("h2", typeof role === "string" ? role : "?"));
  if (isText(thought)) section.append(element("pre", thought, "thought"));
  if (isText(content)) section.append(role === "tool" ? element("pre", pretty(content), "code") : element("pre", content));
  else if (content !== null && content !== undefined && content !== "") section.append(element("pre", pretty(content), "code"));
  if (Array.isArray(calls))
    for (const call of calls as (Call | null)[])
      section.append(element("pre", `${call?.function?.name ?? "?"} ${pretty(call?.function?.arguments)}`, "code"));
  return section;
}

function block(title: string, value: unknown): HTMLElement {
  const section = element("section");
  section.append(element("h2", title), element("pre", pretty(value), "code"));
  return section;
}

function draw(): void {
  if (!shown) return;
  const { state, index, line, record, verdict } = shown;
  const reviewed = state.counts.keep + state.counts.drop + state.counts.unsure;
  place.textContent = `${index + 1} of ${state.total} (line ${line})`;
  bar.max = state.total;
  bar.value = reviewed;
  counts.textContent = `${state.counts.keep} kept, ${state.counts.drop} dropped, ${state.counts.unsure} unsure`;
  const { messages, tools: list, provenance: origin, ...rest } = record;
  const parts: HTMLElement[] = [];
  if (Array.isArray(messages)) parts.push(...(messages as Message[]).map(turn));
  if (Object.keys(rest).length) parts.push(block("fields", rest));
  if (list !== undefined) parts.push(tools ? block("tools", list) : element("h2", "tools: t shows them"));
  if (origin !== undefined) parts.push(provenance ? block("provenance", origin) : element("h2", "provenance: p shows it"));
  sample.replaceChildren(...parts);
  status.textContent = verdict === null ? "no verdict yet" : `verdict: ${verdict}`;
  status.className = verdict ?? "";
  note.value = shown.note;
  document.documentElement.dataset["index"] = String(index);
}

async function ask<T>(path: string, body?: object): Promise<T> {
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Bearer ${token}`, ...(body ? { "content-type": "application/json" } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const value = (await response.json()) as T & { readonly error?: string };
  if (!response.ok) throw new Error(value.error ?? `status ${response.status}`);
  return value;
}

/** Runs one thing at a time, so that no key judges what is not shown yet; a failure is told, and nothing is gone on from it. */
async function once(work: () => Promise<void>): Promise<void> {
  if (busy) return;
  busy = true;
  document.documentElement.toggleAttribute("data-busy", true);
  try {
    await work();
  } catch (error) {
    // What fetch() throws says only that it failed.
    const gone = error instanceof TypeError ? "the command does not answer; is it still running?" : (error as Error).message;
    status.textContent = `failed: ${gone}`;
    status.className = "failed";
  } finally {
    busy = false;
    document.documentElement.toggleAttribute("data-busy", false);
  }
}

async function show(index: number): Promise<void> {
  shown = await ask<Shown>(`/api/sample/${index}`);
  at = index;
  draw();
  sample.scrollTop = 0;
}

async function judge(verdict: "keep" | "drop" | "unsure" | null): Promise<void> {
  const state = await ask<State>("/api/verdict", { index: at, verdict, note: note.value });
  if (verdict === null || at + 1 >= state.total) {
    await show(at);
    if (state.open >= state.total) status.textContent = "all samples have a verdict";
  } else await show(at + 1);
}

/** Scrolls; in newer browsers that gives a promise, which no key waits for. */
const scroll = (by: number) => () => void sample.scrollBy(0, by);
const scrollPage = (sign: number) => () => void sample.scrollBy(0, sign * 0.9 * sample.clientHeight);
const keys: Readonly<Record<string, () => Promise<void> | void>> = {
  k: () => judge("keep"),
  d: () => judge("drop"),
  u: () => judge("unsure"),
  z: () => judge(null),
  ArrowRight: async () => {
    if (shown && at + 1 < shown.state.total) await show(at + 1);
  },
  ArrowLeft: async () => {
    if (at > 0) await show(at - 1);
  },
  g: async () => {
    if (shown && shown.state.open < shown.state.total) await show(shown.state.open);
    else status.textContent = "all samples have a verdict";
  },
  " ": scrollPage(1),
  b: scrollPage(-1),
  ArrowDown: scroll(60),
  ArrowUp: scroll(-60),
  n: () => note.focus(),
  t: () => {
    tools = !tools;
    draw();
  },
  p: () => {
    provenance = !provenance;
    draw();
  },
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target === note) {
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      sample.focus();
    }
    return;
  }
  const act = Object.hasOwn(keys, event.key) ? keys[event.key] : undefined;
  if (!act) return;
  event.preventDefault();
  void once(async () => act());
});

void once(async () => {
  const state = await ask<State>("/api/state");
  await show(Math.min(state.open, state.total - 1));
  sample.focus();
});
