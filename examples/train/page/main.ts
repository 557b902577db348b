// A page that trains a LoRA adapter and tries it. `npx vite build examples/train/page` makes it.
import { defaultModel, load, loadTokenizer, type Model } from "cpm-wasm";
import type { FromWorker, ToWorker } from "./messages.js";

const element = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;
const value = (id: string): string => element<HTMLInputElement | HTMLTextAreaElement>(id).value;
const button = (id: string): HTMLButtonElement => element<HTMLButtonElement>(id);
const show = (id: string, text: string): void => {
  element(id).textContent = text;
};

let model: Model | undefined;
let adapter: Blob | undefined;
let address = "";

const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const send = (message: ToWorker): void => worker.postMessage(message);

/** Whether a run is on its way. */
function training(now: boolean): void {
  button("train").disabled = now;
  button("stop").disabled = !now;
  button("try").disabled = now || !adapter;
}

worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => {
  if (data.type === "progress") {
    element<HTMLProgressElement>("progress").value = data.update / data.updates;
    show(
      "status",
      `Update ${data.update} of ${data.updates}: loss ${data.loss.toFixed(3)}, ${Math.round(data.tokensPerSecond)} tokens/s`,
    );
    return;
  }
  if (data.type === "failed") show("status", data.message);
  else {
    adapter = new Blob([data.adapter]);
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(adapter);
    const link = element<HTMLAnchorElement>("download");
    link.href = address;
    link.hidden = false;
    show("status", `${element("status").textContent}. ${data.stopped ? "Stopped" : "Done"}: ${adapter.size} bytes`);
  }
  training(false);
});
worker.addEventListener("error", ({ message }) => {
  show("status", message);
  training(false);
});

button("train").addEventListener("click", async () => {
  const texts = value("texts")
    .split(/\n\s*\n/)
    .map((text) => text.trim())
    .filter(Boolean);
  training(true);
  show("status", "Loading");
  try {
    const bytes = new Uint8Array(await (await fetch(defaultModel)).arrayBuffer());
    const tokenizer = await loadTokenizer(bytes);
    const documents = texts.map((text) => Array.from(tokenizer.encode(text)));
    send({ type: "train", model: bytes, documents, rank: Number(value("rank")), updates: Number(value("updates")) });
  } catch (error) {
    show("status", error instanceof Error ? error.message : String(error));
    training(false);
  }
});

button("stop").addEventListener("click", () => send({ type: "stop" }));

button("try").addEventListener("click", async () => {
  training(true);
  try {
    await model?.dispose();
    model = await load(defaultModel, { lora: [{ path: adapter!, name: "own" }] });
    const options = { temperature: 0, maxTokens: 40 };
    // Side by side: one model, with its adapter and without.
    const [own, plain] = await Promise.all([
      model.generate(value("prompt"), options),
      model.generate(value("prompt"), { ...options, lora: false }),
    ]);
    show("with", own.text);
    show("without", plain.text);
  } catch (error) {
    show("status", error instanceof Error ? error.message : String(error));
  }
  training(false);
});
