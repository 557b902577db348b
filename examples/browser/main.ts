// A page that runs a model: the embedded one, local files, or an address. `npx vite build examples/browser` makes it.
import { CpmError, defaultModel, load, type Model, type ModelInput } from "cpm-wasm";
import { type Chosen, chosenOf, droppedOf, modelOf } from "./files.js";

const element = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;
const input = (id: string): HTMLInputElement => element<HTMLInputElement>(id);
const show = (id: string, text: string): void => {
  element(id).textContent = text;
};

const form = element<HTMLFormElement>("form");
const prompt = element<HTMLTextAreaElement>("prompt");
const progress = element<HTMLProgressElement>("progress");
const go = element<HTMLButtonElement>("go");

let model: Model | undefined;
/** What `model` was loaded from. */
let source: ModelInput | undefined;
/** What was chosen or dropped. */
let picked: ReturnType<typeof modelOf> | undefined;
/** Set while something runs; the button then stops it. */
let running: AbortController | undefined;

const megabytes = (bytes: number, digits = bytes < 1e7 ? 1 : 0): string => (bytes / 1e6).toFixed(digits);

/** What the form asks for. @throws Error in words when nothing was chosen: no other model takes its place. */
function wanted(): ModelInput {
  const kind = new FormData(form).get("source");
  if (kind === "default") return defaultModel;
  if (kind === "file") {
    if (!picked) throw new Error("Choose a model first: a .gguf file, all parts of a split one, or a folder.");
    return picked.input;
  }
  const address = input("url").value.trim();
  if (!/^https?:\/\/./.test(address)) throw new Error("Give the address of a model: https://…/model.gguf");
  return address;
}

function report(done: number, total: number, what: string): void {
  progress.value = total ? done / total : 0;
  show("status", what);
}

async function loaded(signal: AbortSignal): Promise<Model> {
  const from = wanted();
  if (model && source === from) return model;
  await model?.dispose();
  model = undefined;
  report(0, 0, "Opening the model");
  model = await load(from, {
    signal,
    onProgress: ({ phase, bytes, totalBytes }) => {
      if (phase !== "weights" || totalBytes === 0) return;
      const percent = Math.floor((100 * bytes) / totalBytes);
      const digits = totalBytes < 1e7 ? 1 : 0;
      report(bytes, totalBytes, `Loading: ${percent} %, ${megabytes(bytes, digits)} of ${megabytes(totalBytes, digits)} MB`);
    },
  });
  source = from;
  const { threads, threadsNote, variant, memory } = model.info;
  show("threads", String(threads));
  show("variant", variant === "relaxed" ? "relaxed SIMD" : "SIMD");
  show("memory", `${(memory.total / 2 ** 20).toFixed(0)} MiB`);
  show("note", threadsNote ?? "");
  return model;
}

async function generate(signal: AbortSignal): Promise<void> {
  const text = prompt.value;
  const options = {
    temperature: input("temperature").valueAsNumber,
    maxTokens: input("tokens").valueAsNumber,
    signal,
    onPrefill: (done: number, total: number) => report(done, total, `Reading the prompt: ${done} of ${total} tokens`),
  };
  const generation = (await loaded(signal)).generate(text, options);
  show("echo", text);
  show("text", "");
  report(0, 0, "Writing");
  const started = performance.now();
  let tokens = 0;
  for await (const part of generation) {
    tokens += part.tokens.length;
    element("text").append(part.text);
    report(tokens, options.maxTokens, "Writing");
    show("speed", `${Math.round((1000 * tokens) / (performance.now() - started))} tokens/s`);
  }
  const { timings, finishReason } = await generation;
  show("speed", `${Math.round(timings.decodeTokensPerSecond)} tokens/s`);
  const why = { length: ", as many as were asked for", context: ": the context is full" }[finishReason as string] ?? "";
  show("status", `Done: ${tokens} tokens${why}`);
  document.body.dataset["finished"] = finishReason;
}

const said = (error: unknown): string => (error instanceof CpmError || error instanceof Error ? error.message : String(error));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) {
    running.abort();
    return;
  }
  running = new AbortController();
  go.textContent = "Stop";
  go.classList.add("stop");
  show("error", "");
  delete document.body.dataset["finished"];
  try {
    await generate(running.signal);
  } catch (error) {
    const stopped = running.signal.aborted;
    show("status", stopped ? "Stopped" : "");
    if (!stopped) show("error", said(error));
    document.body.dataset["finished"] = stopped ? "stopped" : "error";
  } finally {
    progress.value = 0;
    running = undefined;
    go.textContent = "Generate";
    go.classList.remove("stop");
  }
});

prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (!running) form.requestSubmit();
});

function pick(chosen: readonly Chosen[]): void {
  if (chosen.length === 0) return;
  input("files").checked = true;
  show("error", "");
  try {
    picked = modelOf(chosen);
    show("file-name", `${picked.name}, ${megabytes(picked.bytes)} MB`);
  } catch (error) {
    picked = undefined;
    show("file-name", "Files of yours: drop them here");
    show("error", said(error));
  }
}

for (const [button, field] of [
  ["pick", "file"],
  ["pick-folder", "folder"],
] as const) {
  element(button).addEventListener("click", () => input(field).click());
  input(field).addEventListener("change", () => pick(chosenOf(input(field).files!)));
}
input("url").addEventListener("input", () => {
  input("by-url").checked = true;
});
input("by-url").addEventListener("click", () => input("url").focus());

// The whole page takes what is dropped.
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer) pick(await droppedOf(event.dataTransfer));
});

show("isolated", crossOriginIsolated ? "yes" : "no");
