// Finding a model's tensors by name and holding them to the shape that the configuration says.
import { copyOf } from "../brands.ts";
import { CpmError, modelError } from "../errors.ts";
import { shown } from "../file/json.ts";
import { type FileTensor, isInteger } from "../file/tensor.ts";
import type { ModelConfig } from "./config.ts";

/** Names of one layer's tensors in a container. */
export class TensorTable {
  readonly #file: string;
  readonly #tensors: ReadonlyMap<string, FileTensor>;
  /** Tensors that exist but have a type that cannot be read. */
  readonly #unreadable: ReadonlyMap<string, string>;

  readonly #used = new Set<string>();

  constructor(file: string, tensors: ReadonlyMap<string, FileTensor>, unreadable: ReadonlyMap<string, string> = new Map()) {
    this.#file = file;
    this.#tensors = tensors;
    this.#unreadable = unreadable;
  }

  has(name: string): boolean {
    return this.#tensors.has(name) || this.#unreadable.has(name);
  }

  find(name: string): FileTensor | undefined {
    this.#used.add(name);
    const dtype = this.#unreadable.get(name);
    if (dtype)
      throw modelError(
        { file: this.#file, field: name, expected: "F32, F16, BF16, I32 or I64", found: dtype },
        "tensor type",
        "convert the model",
      );
    return this.#tensors.get(name);
  }

  /**
   * Refuses tensors that nothing has asked for: a model computed without them would be another one, silently.
   * `harmless`: names that change nothing. @throws CpmError "unsupported".
   */
  refuseUnused(harmless: RegExp): void {
    for (const name of [...this.#tensors.keys(), ...this.#unreadable.keys()])
      if (!this.#used.has(name) && !harmless.test(name))
        throw new CpmError(
          "unsupported",
          `${this.#file}: tensor ${shown(name)}: this architecture has no such tensor, and its result would be wrong without it ` +
            "(biases, expert and q/k-norm layers, further norms and multi-token heads are not supported; use another model)",
          { file: this.#file, field: name.slice(0, 120) },
        );
  }

  /** The tensor of this name and shape; `anyRows` lets the first size be larger. Integers are not weights. */
  get(name: string, shape: readonly number[], options: { anyRows?: boolean; integer?: boolean } = {}): FileTensor {
    const tensor = this.find(name);
    if (!tensor)
      throw modelError(
        { file: this.#file, field: name, expected: `a tensor [${shape}]`, found: "none of this name" },
        "tensor is missing",
      );
    const fits =
      tensor.shape.length === shape.length &&
      tensor.shape.every((size, i) => size === shape[i] || (options.anyRows && i === 0 && size >= shape[0]!));
    if (!fits)
      throw modelError(
        { file: tensor.source.name, field: name, expected: `shape [${shape}]`, found: `[${tensor.shape}]` },
        "tensor shape",
      );
    if (options.integer ? tensor.type !== "I32" : isInteger(tensor.type))
      throw modelError(
        { file: tensor.source.name, field: name, expected: options.integer ? "I32" : "a weight type", found: tensor.type },
        "tensor type",
      );
    return tensor;
  }
}

/** Shapes of a layer's linears: [out, in]. */
export function linearShapes(c: Pick<ModelConfig, "hidden" | "intermediate" | "heads" | "kvHeads" | "headDim">) {
  const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim];
  return {
    q: [q, c.hidden],
    k: [kv, c.hidden],
    v: [kv, c.hidden],
    o: [c.hidden, q],
    gate: [c.intermediate, c.hidden],
    up: [c.intermediate, c.hidden],
    down: [c.hidden, c.intermediate],
  } as const;
}

export async function readFloats(tensor: FileTensor, signal?: AbortSignal): Promise<Float32Array> {
  if (tensor.type !== "F32")
    throw modelError(
      { file: tensor.source.name, offset: tensor.offset, field: tensor.name, expected: "F32", found: tensor.type },
      "tensor type",
    );
  const bytes = await tensor.source.read(tensor.offset, tensor.bytes, signal);
  const values = new Float32Array(copyOf(bytes).buffer);
  const bad = values.findIndex((v) => !(Number.isFinite(v) && v > 0));
  if (bad >= 0)
    throw modelError(
      {
        file: tensor.source.name,
        offset: tensor.offset + 4 * bad,
        field: tensor.name,
        expected: "positive numbers",
        found: String(values[bad]),
      },
      "value",
    );
  return values;
}
