// Whether the keys of a planned GGUF say the model that the folder is: they are read again, and what they mean is compared.
import { CpmError } from "../errors.ts";
import { type LayerKind, type ModelConfig, type ModelFile, ropeDim } from "../model/config.ts";
import { modelOfGguf } from "../model/gguf.ts";
import type { Copy } from "./copy.ts";
import { type Keys, metadataOf } from "./ggufkeys.ts";

/** Numbers that are the same but for their way through float32. */
const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b));

/** What a configuration makes the forward pass do, by name: texts and lists of numbers. */
function meaningOf(config: ModelConfig): ReadonlyMap<string, readonly number[] | string> {
  const t = config.traits ?? {};
  const half = ropeDim(config) / 2;
  const filled = (factors: Float32Array | undefined) => [...(factors ?? new Float32Array(half).fill(1))];
  const [short, long] = [filled(config.ropeShort), filled(config.ropeLong)];
  const stretches = short.some((x, i) => x !== long[i]);
  const layers = Array.from({ length: config.layers }, (_, i): LayerKind => t.layerKinds?.[i] ?? { window: false, rope: 0 });
  const own = [config.ropeTheta, config.ropeScale, ...short, ...long];
  const local = t.ropeLocal;
  const near = local ? [local.theta, local.scale, ...filled(local.factors), ...filled(local.factors)] : own;
  return new Map<string, readonly number[] | string>([
    ...(["layers", "hidden", "intermediate", "heads", "kvHeads", "headDim", "vocab", "contextLength", "rmsEps"] as const).map(
      (key) => [key, [config[key]]] as const,
    ),
    ["embedding scale", [config.embeddingScale]],
    ["residual scale", [config.residualScale]],
    ["logit scale", [config.logitScale]],
    ["tied head", `${config.tied}`],
    ["norms", `${t.norms}`],
    ["q/k norms", `${t.qkNorm}`],
    ["biases", [...(t.biases ?? [])].sort().join(" ")],
    ["activation", `${t.activation}`],
    ["scale of scores", [t.attentionScale ?? 1 / Math.sqrt(config.headDim)]],
    ["soft caps", [t.scoreCap ?? 0, t.logitCap ?? 0]],
    ["dimensions that turn", [ropeDim(config)]],
    ["rotation by length", stretches ? `${t.ropeByLength} ${config.ropeOriginalContext}` : ""],
    ["windows", layers.map(({ window }) => (window ? (t.window ?? 0) : 0))],
    ["rotations", layers.flatMap(({ rope }) => (rope === -1 ? [0] : rope === 1 ? near : own))],
  ]);
}

/** @throws CpmError "unsupported" naming what a GGUF of this architecture has no key for. */
export async function checkMeaning(model: ModelFile, keys: Keys, copies: readonly Copy[], signal?: AbortSignal): Promise<void> {
  const tensors = copies.map(({ name, type, shape, tensor }) => ({ ...tensor, name, type, shape }));
  const refuse = (what: string, cause?: unknown): never => {
    throw new CpmError(
      "unsupported",
      `config.json: no GGUF of this architecture says the model's ${what}: the file would be another model; use the folder as it is`,
      { file: "config.json", field: what },
      ...(cause === undefined ? [] : [{ cause }]),
    );
  };
  const read = await modelOfGguf("the planned file", { version: 3, metadata: metadataOf(keys), tensors } as never, signal).catch(
    (error: unknown) => refuse(error instanceof CpmError ? error.message : "configuration", error),
  );
  const [wanted, found] = [meaningOf(model.config), meaningOf(read.config)];
  for (const [what, value] of wanted) {
    const other = found.get(what)!;
    const same =
      typeof value === "string" || typeof other === "string"
        ? value === other
        : value.length === other.length && value.every((x, i) => near(x, other[i]!));
    if (!same) refuse(what);
  }
}
