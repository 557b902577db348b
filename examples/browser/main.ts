// A page that runs a model: the embedded one or a local file. `npx vite build examples/browser` makes it.
import { CpmError, defaultModel, load, type Model, type ModelInput } from "cpm-wasm";

const element = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;
const show = (id: string, text: string): void => {
  element(id).textContent = text;
};

const form = element<HTMLFormElement>("form");
const prompt = element<HTMLTextAreaElement>("prompt");
const file = element<HTMLInputElement>("file");
const progress = element<HTMLProgressElement>("progress");
const go = element<HTMLButtonElement>("go");

const NO_FILE = element("file-name").textContent;

let model: Model | undefined;
/** What `model` was loaded from. */
let source: ModelInput | undefined;
/** Set while something runs; the button then stops it. */
let running: AbortController | undefined;

const chosen = (): ModelInput => (new FormData(form).get("source") === "file" ? (file.files?.[0] ?? defaultModel) : defaultModel);

async function loaded(signal: AbortSignal): Promise<Model> {
  const wanted = chosen();
  if (model && source === wanted) return model;
  await model?.dispose();
  model = undefined;
  progress.hidden = false;
  try {
    model = await load(wanted, {
      signal,
      onProgress: ({ bytes, totalBytes }) => {
        progress.value = totalBytes ? bytes / totalBytes : 0;
      },
    });
  } finally {
    progress.hidden = true;
  }
  source = wanted;
  const { threads, threadsNote, variant, memory } = model.info;
  show("threads", String(threads));
  show("variant", variant === "relaxed" ? "relaxed SIMD" : "SIMD");
  show("memory", `${(memory.total / 2 ** 20).toFixed(0)} MiB`);
  show("note", threadsNote ?? "");
  return model;
}

async function generate(signal: AbortSignal): Promise<void> {
  show("note", model?.info.threadsNote ?? "");
  show("echo", prompt.value);
  show("text", "");
  const options = {
    temperature: element<HTMLInputElement>("temperature").valueAsNumber,
    maxTokens: element<HTMLInputElement>("tokens").valueAsNumber,
    signal,
  };
  const generation = (await loaded(signal)).generate(prompt.value, options);
  const started = performance.now();
  let tokens = 0;
  for await (const part of generation) {
    tokens += part.tokens.length;
    element("text").append(part.text);
    show("speed", `${Math.round((1000 * tokens) / (performance.now() - started))} tokens/s`);
  }
  const { timings, finishReason } = await generation;
  show("speed", `${Math.round(timings.decodeTokensPerSecond)} tokens/s`);
  document.body.dataset["finished"] = finishReason;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) {
    running.abort();
    return;
  }
  running = new AbortController();
  go.textContent = "Stop";
  go.classList.add("stop");
  delete document.body.dataset["finished"];
  try {
    await generate(running.signal);
  } catch (error) {
    if (!running.signal.aborted) show("note", error instanceof CpmError ? error.message : String(error));
  } finally {
    running = undefined;
    go.textContent = "Generate";
    go.classList.remove("stop");
  }
});

element("pick").addEventListener("click", () => file.click());
file.addEventListener("change", () => show("file-name", file.files?.[0]?.name ?? NO_FILE));
file.addEventListener("cancel", () => {
  if (!file.files?.length) element<HTMLInputElement>("embedded").checked = true;
});

show("isolated", crossOriginIsolated ? "yes" : "no");
