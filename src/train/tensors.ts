// What a run has made, as tensors to be written: whole models (adapters merged, ternary layers as the forward pass used them), heads,
// layers of multi-token prediction, adapters by themselves.
import { CpmError } from "../errors.ts";
import type { ExportTensor } from "./folder.ts";
import { loraOf, type PlacedTensor } from "./graph.ts";
import { countOf, modelTensors, type TensorShape } from "./shape.ts";
import type { Trainer } from "./trainer.ts";

const view = (trainer: Trainer, tensor: PlacedTensor, what: "at" | "use"): ExportTensor => ({
  name: tensor.name,
  shape: tensor.shape,
  read: (from, count) => Float32Array.from(trainer.graph.values(tensor, what).subarray(from, from + count)),
});

function placed(trainer: Trainer, { name }: TensorShape): PlacedTensor {
  const found = trainer.graph.tensors.get(name);
  if (!found)
    throw new CpmError("unsupported", `${name}: this run does not hold the whole model, so it cannot be written as one`, {
      field: name,
    });
  return found;
}

/** The tensors that a run trains, as they are. */
export const trainedTensors = (trainer: Trainer): ExportTensor[] =>
  trainer.graph.trained.map((tensor) => view(trainer, tensor, "at"));

/**
 * The model as the forward pass computes it: ternary layers as {-s, 0, s}, low-rank adapters merged (W + alpha/rank B A, in float64,
 * rounded once). Call `await trainer.refresh()` before. `latent`: ternary layers before rounding, from which training can go on.
 * @throws CpmError "unsupported" for a run that does not hold the whole model.
 */
export function modelExport(trainer: Trainer, { latent = false }: { readonly latent?: boolean } = {}): ExportTensor[] {
  const { shape, options, tensors } = trainer.graph;
  const lora = loraOf(options.objective);
  return modelTensors(shape).map((t) => {
    const tensor = placed(trainer, t);
    const stem = t.name.replace(/\.weight$/, "");
    const [a, b] = [tensors.get(`${stem}.lora_A.weight`), tensors.get(`${stem}.lora_B.weight`)];
    if (!lora || !a || !b) return view(trainer, tensor, latent ? "at" : "use");
    const scale = lora.alpha / lora.rank;
    return { ...view(trainer, tensor, "at"), read: (from, count) => merged(trainer, { tensor, a, b, scale }, from, count) };
  });
}

interface Adapted {
  readonly tensor: PlacedTensor;
  readonly a: PlacedTensor;
  readonly b: PlacedTensor;
  readonly scale: number;
}

/** Elements of W + scale B A. */
function merged(trainer: Trainer, { tensor, a, b, scale }: Adapted, from: number, count: number): Float32Array {
  const { graph } = trainer;
  const [w, low, up] = [graph.values(tensor), graph.values(a), graph.values(b)];
  const [rank, width] = a.shape as [number, number];
  const out = new Float32Array(count);
  const sums = new Float64Array(width);
  for (let row = Math.floor(from / width); row * width < from + count; row++) {
    sums.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = up[row * rank + r]!;
      for (let i = 0; i < width; i++) sums[i] = sums[i]! + factor * low[r * width + i]!;
    }
    const begin = Math.max(from, row * width);
    const end = Math.min(from + count, (row + 1) * width);
    for (let i = begin; i < end; i++) out[i - from] = w[i]! + scale * sums[i - row * width]!;
  }
  return out;
}

/** Numbers that a run trains. */
export const parametersOf = (trainer: Trainer): number => trainer.trained.reduce((sum, t) => sum + countOf(t), 0);
