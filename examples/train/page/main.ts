// A page that trains a LoRA adapter or a draft head, and tries it. `npx vite build examples/train/page` makes it.
import { defaultModel, load, loadTokenizer, type Model } from "cpm-wasm";
import type { FromWorker, Kind, ToWorker } from "./messages.js";

const element = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;
const value = (id: string): string => element<HTMLInputElement | HTMLTextAreaElement>(id).value;
const button = (id: string): HTMLButtonElement => element<HTMLButtonElement>(id);
const show = (id: string, text: string): void => {
  element(id).textContent = text;
};

let model: Model | undefined;
let trained: { readonly kind: Kind; readonly file: Blob } | undefined;
let kind: Kind = "adapter";
let address = "";

const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const send = (message: ToWorker): void => worker.postMessage(message);

/** Whether a run is on its way. */
function training(now: boolean): void {
  button("train").disabled = now;
  button("stop").disabled = !now;
  button("try").disabled = now || !trained;
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
    const file = new Blob([data.file]);
    trained = { kind, file };
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(file);
    const link = element<HTMLAnchorElement>("download");
    link.href = address;
    link.download = kind === "head" ? "head.safetensors" : "adapter.gguf";
    link.textContent = `Download ${link.download}`;
    link.hidden = false;
    show("status", `${element("status").textContent}. ${data.stopped ? "Stopped" : "Done"}: ${file.size} bytes`);
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
  kind = value("kind") as Kind;
  training(true);
  show("status", "Loading");
  try {
    const bytes = new Uint8Array(await (await fetch(defaultModel)).arrayBuffer());
    const tokenizer = await loadTokenizer(bytes);
    const documents = texts.map((text) => Array.from(tokenizer.encode(text)));
    send({ type: "train", kind, model: bytes, documents, rank: Number(value("rank")), updates: Number(value("updates")) });
  } catch (error) {
    show("status", error instanceof Error ? error.message : String(error));
    training(false);
  }
});

button("stop").addEventListener("click", () => send({ type: "stop" }));

/** The head drafts for the model: the text is the same, in fewer steps. */
async function tryHead(
  eagle: Uint8Array<ArrayBuffer>,
  options: { readonly temperature: number; readonly maxTokens: number },
): Promise<void> {
  const plain = await load(defaultModel, { draft: false });
  try {
    show("without", (await plain.generate(value("prompt"), options)).text);
  } finally {
    await plain.dispose();
  }
  model = await load(defaultModel, { draft: { eagle, adaptive: false, lookup: false } });
  const { text, draft } = await model.generate(value("prompt"), options);
  show("with", text);
  show("status", `${(draft?.acceptedPerRound ?? 1).toFixed(2)} tokens a round, the text is the model's own`);
}

button("try").addEventListener("click", async () => {
  training(true);
  try {
    await model?.dispose();
    const options = { temperature: 0, maxTokens: 40 };
    if (trained!.kind === "head") await tryHead(new Uint8Array(await trained!.file.arrayBuffer()), options);
    else {
      model = await load(defaultModel, { lora: [{ path: trained!.file, name: "own" }] });
      // Side by side: one model, with its adapter and without.
      const [own, plain] = await Promise.all([
        model.generate(value("prompt"), options),
        model.generate(value("prompt"), { ...options, lora: false }),
      ]);
      show("with", own.text);
      show("without", plain.text);
    }
  } catch (error) {
    show("status", error instanceof Error ? error.message : String(error));
  }
  training(false);
});
