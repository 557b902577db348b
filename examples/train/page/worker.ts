// Trains: a model as it is packed, an adapter or a draft head beside it, one thread. Between two parts of an update it hears whether to stop.
// Imports of workers hold nothing but cpm-wasm/train: Vite builds a worker as one script.
import {
  type Batch,
  dequantiser,
  eagleTensors,
  folderFiles,
  headBatch,
  loraTensors,
  type ModelFile,
  memoryFiles,
  memoryOutput,
  normal,
  openTrainingMachine,
  readModel,
  setWeights,
  shapeOfModel,
  Trainer,
  trainedTensors,
  writeLoraGguf,
} from "cpm-wasm/train";
import type { FromWorker, ToWorker } from "./messages.js";

/** Rows of a batch and tokens of a row. */
const ROWS = 2;
const LENGTH = 64;

const send = (message: FromWorker): void => self.postMessage(message);
let stop: AbortController | undefined;

self.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  if (data.type === "stop") stop?.abort();
  else if (!stop) {
    stop = new AbortController();
    train(data, stop.signal)
      .catch((error: unknown) => send({ type: "failed", message: error instanceof Error ? error.message : String(error) }))
      .finally(() => {
        stop = undefined;
      });
  }
});

/** The texts' tokens in rows: each text is a document of its own, cut where a row ends; a row's last token predicts nothing. */
function batchesOf(documents: readonly (readonly number[])[]): Batch[] {
  const rows = documents.flatMap((tokens) =>
    Array.from({ length: Math.ceil(tokens.length / LENGTH) }, (_, i) => tokens.slice(i * LENGTH, (i + 1) * LENGTH)),
  );
  const useful = rows.filter((row) => row.length > 1);
  return Array.from({ length: Math.ceil(useful.length / ROWS) }, (_, b): Batch => {
    const size = ROWS * LENGTH;
    const batch = {
      rows: ROWS,
      length: LENGTH,
      tokens: new Int32Array(size),
      segments: new Int32Array(size).fill(-1),
      labels: new Int32Array(size).fill(-1),
      weights: new Float32Array(size),
    };
    for (let r = 0; r < ROWS; r++)
      for (const [t, token] of (useful[b * ROWS + r] ?? []).entries()) {
        const at = r * LENGTH + t;
        batch.tokens[at] = token;
        batch.segments[at] = 0;
        const next = useful[b * ROWS + r]![t + 1];
        batch.labels[at] = next ?? -1;
        batch.weights[at] = next === undefined ? 0 : 1;
      }
    return batch;
  });
}

async function train(wanted: Extract<ToWorker, { type: "train" }>, signal: AbortSignal): Promise<void> {
  const { kind, rank, updates } = wanted;
  const model = await readModel(memoryFiles("model.gguf", { "model.gguf": wanted.model }));
  const head = kind === "head";
  const batches = batchesOf(wanted.documents).map((batch) => (head ? headBatch(batch) : batch));
  if (batches.length === 0) throw new Error("There is nothing to train on: give a text.");
  const shape = shapeOfModel(model.config, LENGTH);
  const trainer = await Trainer.create(await openTrainingMachine(), {
    shape,
    objective: head ? { kind: "eagle", probabilityWeight: 0.3 } : { kind: "lora", rank, alpha: 2 * rank },
    rows: ROWS,
    length: LENGTH,
    optimiser: {
      schedule: { kind: "linear", peak: 4e-3, warmup: 4, stableEnd: Math.floor(updates / 2), decaySteps: Math.ceil(updates / 2) },
      weightDecay: 0,
    },
  });
  try {
    trainer.initialise(
      normal(1),
      (head ? eagleTensors(shape) : loraTensors(shape, rank)).map(({ name }) => name),
      head ? 0.1 : 0.05,
    );
    await setWeights(trainer, model, { dequantise: await dequantiser() });
    let update = 0;
    while (update < updates && !signal.aborted) {
      const began = performance.now();
      const batch = batches[update % batches.length]!;
      const result = await trainer.step(batch, signal).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
      if (!result) break;
      update++;
      const tokensPerSecond = (1000 * batch.segments.filter((s) => s >= 0).length) / (performance.now() - began);
      send({ type: "progress", update, updates, loss: result.loss, tokensPerSecond });
    }
    const file = head ? await headFile(trainer) : await adapterFile(trainer, model);
    send({ type: "done", file, update, stopped: update < updates });
  } finally {
    await trainer.close();
  }
}

async function adapterFile(trainer: Trainer, { config }: ModelFile): Promise<Uint8Array<ArrayBuffer>> {
  const output = memoryOutput("adapter.gguf");
  await writeLoraGguf(trainer, config, async () => output, { type: "F16", name: "trained in a page" });
  return output.bytes();
}

/** A bare safetensors file, with the names that EAGLE-2 heads are published with. */
async function headFile(trainer: Trainer): Promise<Uint8Array<ArrayBuffer>> {
  const source = await folderFiles({ config: {}, files: {} }, trainedTensors(trainer), "F16").open("model.safetensors");
  return Uint8Array.from(await source!.read(0, source!.size));
}
