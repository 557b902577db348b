// What is shown, and what can be done. Components read signals and call these functions; nothing else changes anything.
import { computed, signal } from "@preact/signals";
import {
  type Backend,
  type Info,
  type LoadState,
  type LoadWishes,
  type Piece,
  type Sampling,
  type Source,
  Trouble,
  type Turn,
} from "./backend.ts";
import { type Conversation, type Message, newId, readSampling, Store, writeSampling } from "./store.ts";
import { BadFile, fromJson, toJson, toMarkdown } from "./transfer.ts";

export interface Action {
  readonly label: string;
  run(): void;
}

export interface Alert {
  readonly words: string;
  readonly detail: string;
  readonly actions?: readonly Action[];
}

export const conversations = signal<readonly Conversation[]>([]);
export const current = signal<string | undefined>(undefined);
export const messages = signal<readonly Message[]>([]);
export const info = signal<Info | undefined>(undefined);
export const models = signal<readonly string[]>([]);
export const loading = signal<LoadState | undefined>(undefined);
export const reading = signal<{ readonly done: number; readonly total: number; readonly left: number | undefined } | undefined>(
  undefined,
);
export const sampling = signal<Sampling>(readSampling());
export const alert = signal<Alert | undefined>(undefined);
/** Another tab has the engine. */
export const elsewhere = signal(false);
/** Said politely to those who hear the page. */
export const spoken = signal("");
/** The id of the answer that is being written. */
export const running = signal<string | undefined>(undefined);
/** A conversation that was deleted and can be brought back. */
export const deleted = signal<{ readonly conversation: Conversation; readonly messages: readonly Message[] } | undefined>(
  undefined,
);

export const conversation = computed(() => conversations.value.find(({ id }) => id === current.value));

/** From the first message to the one named. */
function lineTo(leaf: string | undefined): readonly Message[] {
  const byId = new Map(messages.value.map((message) => [message.id, message]));
  const out: Message[] = [];
  for (let at = leaf; at !== undefined && out.length <= byId.size; ) {
    const message = byId.get(at);
    if (!message) break;
    out.unshift(message);
    at = message.parent;
  }
  return out;
}

/** From the first message to the leaf. */
export const path = computed(() => lineTo(conversation.value?.leaf));

type Listener = (piece: Piece) => void;
/** The running answer: what has come of it so far, and who writes down what comes. */
let live: { readonly id: string; readonly reasoning: string; readonly text: string } | undefined;
const listeners = new Set<{ readonly id: string; readonly hear: Listener }>();

/**
 * The pieces of the running answer `id`, directly and without a render: first what has come already (a page is drawn
 * later than the first words may come, and drawn anew when the reader returns to a conversation), then each as it comes.
 * Returns what ends it.
 */
export function listen(id: string, hear: Listener): () => void {
  if (live?.id === id) {
    if (live.reasoning !== "") hear({ type: "reasoning", text: live.reasoning });
    if (live.text !== "") hear({ type: "text", text: live.text });
  }
  const one = { id, hear };
  listeners.add(one);
  return () => {
    listeners.delete(one);
  };
}

let store: Store;
export let backend: Backend;
let stopper: AbortController | undefined;

export async function start(home: Backend & { begin?(): Promise<void> }): Promise<void> {
  backend = home;
  store = await Store.open();
  conversations.value = await store.conversations();
  // Whatever still "runs" was cut off when its page went away.
  for (const { id } of conversations.value)
    for (const message of await store.messages(id))
      if (message.status === "running")
        await store.putMessage({
          ...message,
          status: "stopped",
          error: { words: "Interrupted: the page was closed.", detail: "" },
        });
  if (!store.lasting) alert.value = { words: "This browser keeps no conversations for this page; they end with it.", detail: "" };
  const [latest] = conversations.value;
  if (latest) await open(latest.id);
  else await create();
  await (home.begin ? home.begin() : refreshModels());
}

/** Seconds until a server that does not answer is asked again: 1, 2, 4 … 30. */
let pauseSeconds = 1;
let retry: ReturnType<typeof setTimeout> | undefined;

export async function refreshModels(): Promise<void> {
  clearTimeout(retry);
  try {
    models.value = await backend.models();
    if (pauseSeconds > 1) alert.value = undefined;
    pauseSeconds = 1;
    if (!info.value && models.value[0] !== undefined) await choose(models.value[0]);
  } catch (error) {
    report(error);
    if (!(error instanceof Trouble && error.kind === "away")) return;
    retry = setTimeout(() => void refreshModels(), 1000 * pauseSeconds);
    pauseSeconds = Math.min(30, 2 * pauseSeconds);
  }
}

/** What can be done about a context that is full. */
export function contextActions(): Action[] {
  const larger = info.value?.larger;
  const more =
    larger &&
    `Larger context (${larger.contextSize.toLocaleString("en")} tokens, ${Math.ceil(larger.bytes / 1e6).toLocaleString("en")} MB more)`;
  const done = (run: () => void) => () => {
    alert.value = undefined;
    run();
  };
  return [
    { label: "New chat", run: done(() => void create()) },
    ...(larger ? [{ label: more!, run: done(() => void again({ contextSize: larger.contextSize })) }] : []),
    ...(backend.home === "page" && sampling.value.whenFull === "stop"
      ? [{ label: "Forget the oldest text as it goes on", run: done(() => setSampling({ whenFull: "slide" })) }]
      : []),
  ];
}

function report(error: unknown): void {
  if (!(error instanceof Trouble)) {
    alert.value = { words: "Something went wrong.", detail: error instanceof Error ? error.message : String(error) };
    return;
  }
  const { message: words, detail, kind } = error;
  if (kind === "elsewhere") elsewhere.value = true;
  else if (kind === "overflow") alert.value = { words, detail, actions: contextActions() };
  else if (kind === "ended" && last) alert.value = { words, detail, actions: [{ label: "Load again", run: () => void again() }] };
  else alert.value = { words, detail };
}

/** What was chosen last. */
let last: { readonly name: string; readonly source: Source | undefined } | undefined;

/** Loads what was chosen last, otherwise. */
export const again = (wishes: LoadWishes = {}): Promise<void> =>
  last ? choose(last.name, last.source, wishes) : refreshModels();

/** Makes a model ready: one of the list, files, or an address. */
export async function choose(name: string, source?: Source, wishes: LoadWishes = {}): Promise<void> {
  stop();
  loading.value?.phase && loader?.abort(new DOMException("another model was chosen", "AbortError"));
  const control = new AbortController();
  loader = control;
  last = { name, source };
  loading.value = { phase: "open", bytes: 0, totalBytes: 0 };
  alert.value = undefined;
  const onLost = () => {
    stop();
    info.value = undefined;
    elsewhere.value = true;
  };
  try {
    info.value = await backend.load(
      name,
      source,
      wishes,
      (state) => {
        if (loader === control) loading.value = state;
      },
      onLost,
      control.signal,
    );
    elsewhere.value = false;
    spoken.value = `${info.value.model} is ready`;
  } catch (error) {
    // Where loading failed nothing is loaded any more.
    if (loader === control && backend.home === "page") info.value = undefined;
    if (!control.signal.aborted) report(error);
  } finally {
    if (loader === control) loading.value = undefined;
  }
}
let loader: AbortController | undefined;

export function cancelLoad(): void {
  loader?.abort(new DOMException("cancelled", "AbortError"));
  loading.value = undefined;
}

async function change(id: string, fields: Partial<Conversation>): Promise<void> {
  const old = conversations.value.find((one) => one.id === id);
  if (!old) return;
  const next = { ...old, ...fields };
  conversations.value = conversations.value.map((one) => (one.id === id ? next : one));
  await store.putConversation(next);
}

export async function create(): Promise<void> {
  const empty = conversations.value.find((one) => one.leaf === undefined);
  if (empty) return open(empty.id);
  const now = Date.now();
  const fresh: Conversation = {
    id: newId(),
    title: "New chat",
    created: now,
    changed: now,
    leaf: undefined,
    system: "",
    draft: "",
  };
  conversations.value = [fresh, ...conversations.value];
  const opened = open(fresh.id);
  await store.putConversation(fresh);
  await opened;
}

/** Shows a conversation. An answer that is being written in another goes on there. */
export async function open(id: string): Promise<void> {
  if (current.value === id && messages.value.length > 0) return;
  // At once, so that what is typed now belongs to it.
  if (current.value !== id) {
    messages.value = [];
    current.value = id;
  }
  const found = await store.messages(id);
  if (current.value !== id) return;
  // What was put while the store was read is newer than what was read.
  const newer = new Map(messages.value.map((message) => [message.id, message]));
  messages.value = [...found.filter((message) => !newer.has(message.id)), ...newer.values()];
}

export async function remove(id: string): Promise<void> {
  const gone = conversations.value.find((one) => one.id === id);
  if (!gone) return;
  const messages = await store.messages(id);
  if (messages.some((message) => message.id === running.value)) stop();
  deleted.value = {
    conversation: gone,
    messages: messages.map((message) => (message.status === "running" ? { ...message, status: "stopped" } : message)),
  };
  conversations.value = conversations.value.filter((one) => one.id !== id);
  await store.remove(id);
  if (current.value === id) {
    const [next] = conversations.value;
    if (next) await open(next.id);
    else await create();
  }
}

export async function undoRemove(): Promise<void> {
  const back = deleted.value;
  if (!back) return;
  deleted.value = undefined;
  await store.putConversation(back.conversation);
  for (const message of back.messages) await store.putMessage(message);
  conversations.value = await store.conversations();
  await open(back.conversation.id);
}

export const keepDraft = (draft: string): Promise<void> => (current.value ? change(current.value, { draft }) : Promise.resolve());
export const setSystem = (system: string): Promise<void> =>
  current.value ? change(current.value, { system }) : Promise.resolve();
export const rename = (id: string, title: string): Promise<void> => change(id, { title: title.trim() || "Chat" });

export function setSampling(fields: Partial<Sampling>): void {
  sampling.value = { ...sampling.value, ...fields };
  writeSampling(sampling.value);
}

/** Messages with the same parent, oldest first. */
export const siblings = (message: Message): readonly Message[] =>
  messages.value
    .filter((one) => one.parent === message.parent && one.role === message.role)
    .sort((a, b) => a.created - b.created);

/** Shows a sibling, with the newest that follows it. */
export async function show(message: Message): Promise<void> {
  stop();
  let leaf = message;
  for (;;) {
    const children = messages.value.filter((one) => one.parent === leaf.id).sort((a, b) => b.created - a.created);
    if (!children[0]) break;
    leaf = children[0];
  }
  await change(message.conversation, { leaf: leaf.id });
}

async function put(message: Message): Promise<void> {
  const known = messages.value.some((one) => one.id === message.id);
  if (message.conversation === current.value)
    messages.value = known ? messages.value.map((one) => (one.id === message.id ? message : one)) : [...messages.value, message];
  await store.putMessage(message);
}

function fresh(role: "user" | "assistant", parent: string | undefined, text: string, status: Message["status"]): Message {
  return {
    id: newId(),
    conversation: current.value!,
    parent,
    role,
    text,
    reasoning: "",
    thoughtMs: undefined,
    status,
    error: undefined,
    model: info.value?.model ?? "",
    ended: undefined,
    created: Date.now(),
  };
}

/** Sends a text after the leaf; `parent`: in place of a message, as its sibling. Whether it was taken. */
export async function send(text: string, parent = conversation.value?.leaf): Promise<boolean> {
  if (sending || running.value !== undefined || text.trim() === "" || !current.value) return false;
  if (!info.value) {
    alert.value = {
      words: elsewhere.value
        ? "The model runs in another tab; your text stays."
        : "No model is ready yet. Choose one first; your text stays.",
      detail: "",
    };
    return false;
  }
  sending = true;
  const message = fresh("user", parent, text, "done");
  await put(message);
  const leaf = conversation.value?.leaf;
  const first = path.value.length === 0;
  await change(current.value, {
    leaf: message.id,
    changed: Date.now(),
    draft: "",
    ...(first ? { title: text.trim().split("\n")[0]!.slice(0, 60) } : {}),
  });
  const title = conversation.value?.title;
  const takeBack = async () => {
    // Nothing was sent: the text is a draft again.
    await drop(message);
    await change(message.conversation, { leaf, draft: text, ...(first && title ? { title: "New chat" } : {}) });
    if (current.value === message.conversation) restored.value = { text };
  };
  void answer(message, takeBack).finally(() => {
    sending = false;
  });
  return true;
}
/** A text that comes back into the field it was sent from. */
export const restored = signal<{ readonly text: string } | undefined>(undefined);

async function drop(message: Message): Promise<void> {
  if (message.conversation === current.value) messages.value = messages.value.filter(({ id }) => id !== message.id);
  await store.removeMessage(message.id);
}

/** Between a click and the answer's beginning a second click does nothing. */
let sending = false;

/** Another answer to the message that this one answers. */
export async function regenerate(message: Message): Promise<void> {
  if (running.value !== undefined) return;
  const asked = messages.value.find((one) => one.id === message.parent);
  if (asked) await answer(asked);
}

export function stop(): void {
  stopper?.abort(new DOMException("stopped", "AbortError"));
}

/** Writes an answer below `asked`. What is shown is exactly what is sent. `takeBack`: undoes the sending of what does not fit. */
async function answer(asked: Message, takeBack?: () => Promise<void>): Promise<void> {
  const control = new AbortController();
  stopper = control;
  let message = fresh("assistant", asked.id, "", "running");
  running.value = message.id;
  const turns: Turn[] = lineTo(asked.id).map(({ role, text }) => ({ role, content: text }));
  const system = conversation.value?.system.trim();
  await put(message);
  await change(message.conversation, { leaf: message.id, changed: Date.now() });
  if (system) turns.unshift({ role: "system", content: system });
  spoken.value = "Answering";
  const began = Date.now();
  let saved = began;
  let [text, reasoning, thoughtMs] = ["", "", undefined as number | undefined];
  const onPiece = (piece: Piece) => {
    reading.value = undefined;
    if (piece.type === "reasoning") reasoning += piece.text;
    else {
      if (reasoning !== "" && thoughtMs === undefined) thoughtMs = Date.now() - began;
      text += piece.text;
    }
    live = { id: message.id, reasoning, text };
    for (const { id, hear } of listeners) if (id === message.id) hear(piece);
    if (Date.now() - saved > 1000) {
      saved = Date.now();
      void store.putMessage({ ...message, text, reasoning, thoughtMs });
    }
  };
  const onReading = (done: number, total: number) => {
    const ms = Date.now() - began;
    if (ms > 300)
      reading.value = { done, total, left: ms > 2000 && done > 0 ? ((ms / 1000) * (total - done)) / done : undefined };
  };
  try {
    const ended = await backend.chat(turns, sampling.value, onPiece, onReading, control.signal);
    message = { ...message, text, reasoning, thoughtMs, status: "done", ended };
    spoken.value = `Answer finished, ${text.split(/\s+/).filter(Boolean).length} words`;
  } catch (error) {
    const stopped = control.signal.aborted;
    const trouble =
      error instanceof Trouble
        ? error
        : new Trouble("The answer could not be finished.", String((error as Error)?.message ?? error));
    message = {
      ...message,
      text,
      reasoning,
      thoughtMs,
      status: stopped ? "stopped" : "failed",
      error: stopped ? undefined : { words: trouble.message, detail: trouble.detail },
    };
    spoken.value = stopped ? "Stopped" : trouble.message;
    if (!stopped && trouble.kind === "overflow" && takeBack && text === "" && reasoning === "") {
      report(trouble);
      await drop(message);
      await takeBack();
      message = { ...message, id: "" };
    } else if (!stopped && trouble.kind === "ended") {
      info.value = undefined;
      report(trouble);
    }
  }
  reading.value = undefined;
  if (stopper === control) stopper = undefined;
  if (message.id !== "") await put(message);
  live = undefined;
  running.value = undefined;
}

/** This conversation, or all of them, as a file. */
export async function exported(all: boolean): Promise<string> {
  const chosen = conversations.value.filter(({ id, leaf }) => (all ? leaf !== undefined : id === current.value));
  return toJson(await Promise.all(chosen.map(async (one) => ({ ...one, messages: await store.messages(one.id) }))));
}

/** What is shown of this conversation, as Markdown. */
export const markdownOf = (): string =>
  toMarkdown(conversation.value?.title ?? "Chat", conversation.value?.system ?? "", path.value);

/** Reads conversations from a file; a bad one changes nothing, and is said. */
export async function imported(file: File): Promise<void> {
  try {
    const known = new Set(conversations.value.map(({ id }) => id));
    const read = await fromJson(await file.text(), {
      messages: async (id) => (known.has(id) ? store.messages(id) : undefined),
      taken: (ids) => store.taken(ids),
    });
    await store.putAll(read.conversations, read.messages);
    conversations.value = await store.conversations();
    const count = read.conversations.length;
    spoken.value = `${count} ${count === 1 ? "conversation" : "conversations"} read${read.skipped ? `, ${read.skipped} were here already` : ""}`;
    alert.value = { words: `${spoken.value}.`, detail: "" };
    if (read.conversations[0]) await open(read.conversations[0].id);
  } catch (error) {
    if (!(error instanceof BadFile)) return report(error);
    alert.value = { words: "This file cannot be read; nothing was changed.", detail: error.message };
  }
}
