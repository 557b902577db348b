// The quantiser's entrance: options checked, model and calibration opened, one run.

import { CpmError, nearest } from "../errors.ts";
import type { ModelInput } from "../file/kind.ts";
import { inputKind } from "../file/kind.ts";
import { openInput } from "../file/open.ts";
import { abortable, type ModelFiles } from "../file/source.ts";
import { printable, shown } from "../shown.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { type Calibration, chooseSequences } from "./calibration.ts";
import type { Destination } from "./destination.ts";
import { embedSequences } from "./embedding.ts";
import { HESSIANS, Hessian, type HessianForm } from "./hessian.ts";
import { fuse, type Imatrix, readImatrix } from "./imatrix.ts";
import { LayerRun, PLAIN_SETTINGS } from "./layers.ts";
import { feedsBack, METHODS, type Method, skipsFirst, smooths } from "./method.ts";
import { Machine, type QuantiseModules } from "./module.ts";
import { Passes, STAGE_NAMES, STAGES } from "./passes.ts";
import { findPrefix, withPrefix } from "./prefix.ts";
import type { QuantizeProgress } from "./progress.ts";
import { hasGrid, TARGETS, type Target } from "./recipe.ts";
import type { QuantizeReport } from "./report.ts";
import { runQuantise } from "./run.ts";
import { type OpenedSource, openSource } from "./source.ts";

/** What every run takes. */
export interface CommonOptions {
  /** Tokens of a calibration sequence, at most. Default 512. */
  readonly length?: number | undefined;
  /** Calibration sequences, at most; of more, some are chosen by `seed`. Default 128. */
  readonly samples?: number | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Default "auto": the physical cores. */
  readonly threads?: number | "auto" | undefined;
  /** What the quantiser's memory may grow to, in bytes. Activations spill to disk in any case. Default: what WebAssembly has, 4 GiB. */
  readonly maxMemoryBytes?: number | undefined;
  /** 256-bit vectors, an experimental feature of V8 in Node 24 and newer: sooner done, the same bytes. Default false. */
  readonly turbo?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: QuantizeProgress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

export interface QuantizeOptions extends CommonOptions {
  /** A GGUF mixture by its name, or "int4": a folder of GPTQ safetensors. */
  readonly type: Target;
  /** Default "gptq" with calibration, else "search". */
  readonly method?: Method | undefined;
  /** Texts, each a sequence of its own, or sequences of tokens. */
  readonly calibration?: Calibration | undefined;
  /** An importance matrix in one of llama.cpp's formats. Not beside calibration, which makes its own. */
  readonly imatrix?: ModelInput | undefined;
  /** Columns that share a scale in int4: 32, 64 or 128, the default. GGUF types have groups of their own. */
  readonly group?: number | undefined;
  /** Pairs of a pattern of tensor names (`*` stands for any characters) and the type that these become. */
  readonly keep?: readonly (readonly [pattern: string, type: string])[] | undefined;
  /** Share of the mean diagonal that is added to it. Default 0.01. */
  readonly damp?: number | undefined;
  /** Error feedback takes columns by falling importance; the layout stays. Default false. */
  readonly actOrder?: boolean | undefined;
  /**
   * Products of inputs for error feedback and smoothing: "float" (float32, the default), or "int16", of inputs rounded to 12 bits and a sign
   * by column and 128 rows: sooner done, as good.
   */
  readonly hessian?: HessianForm | undefined;
  /**
   * Rows of inputs that these products are summed over, and importance with them: so many of all, some of every sequence, evenly spread and drawn
   * by `seed`. Below twice the inputs of a linear its weights are rounded by importance. Default: all.
   */
  readonly hessianRows?: number | undefined;
  /** Positions that the methods with "p-gptq" leave out of every sequence. Default 4. */
  readonly skip?: number | undefined;
  /**
   * Tokens that every calibration sequence begins with, and that the methods with "p-gptq" leave out in place of `skip` positions: a list, or
   * "auto" for those that the float model's massive activations ask for. Default: none.
   */
  readonly prefix?: "auto" | readonly number[] | undefined;
  /** Of int4 checkpoints: 1 stores zero points less one, which every reader takes; 2 as they are. Default 1. */
  readonly checkpointVersion?: 1 | 2 | undefined;
}

export type ImatrixOptions = CommonOptions & {
  readonly calibration: Calibration;
};

const bad = (field: string, expected: string, found: unknown): CpmError =>
  new CpmError("bad-option", `${field}: expected ${expected}, found ${shown(found)}`, { field, expected, found: shown(found) });

function oneOf<T extends string>(field: string, value: unknown, values: readonly T[]): T {
  const found = values.find((v) => v === value);
  if (found !== undefined) return found;
  const near = typeof value === "string" ? nearest(value, values) : undefined;
  throw bad(field, `${values.join(", ")}${near ? ` (${near}?)` : ""}`, value);
}

function whole(field: string, value: unknown, low: number, high: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < low || value > high)
    throw bad(field, `a whole number from ${low} to ${high}`, value);
  return value;
}

const COMMON = { length: 512, samples: 128, seed: 0 } as const;
/** No quantiser runs in less than its first memory, 4 MiB. */
const LEAST_MEMORY = 1 << 22;
const DEFAULTS = {
  group: 128,
  checkpointVersion: 1,
  damp: 0.01,
  actOrder: false,
  hessian: "float",
  hessianRows: undefined,
  skip: 4,
} as const;

/**
 * What would change nothing is refused: the caller expects something of it. Not so a default that is said aloud, and not what changes nothing
 * only because every pattern of `keep` leads past it.
 */
function refuseIdle(o: QuantizeOptions, type: Target, method: Method): void {
  const refuse = (fields: readonly (keyof typeof DEFAULTS)[], why: string) => {
    for (const field of fields)
      if (o[field] !== undefined && o[field] !== DEFAULTS[field])
        throw new CpmError("bad-option", `${field}: ${why}; leave it out`, { field });
  };
  if (type !== "int4") {
    refuse(["group"], `${type} has groups of its own`);
    refuse(["checkpointVersion"], `${type} is no GPTQ checkpoint`);
  }
  if (!feedsBack(method)) refuse(["damp", "actOrder"], `"${method}" has no error feedback`);
  if (!feedsBack(method) && !smooths(method)) refuse(["hessian", "hessianRows"], `"${method}" takes no products of inputs`);
  if (!skipsFirst(method)) refuse(["skip"], `"${method}" leaves no positions out`);
  if (!o.calibration)
    for (const field of ["length", "samples", "seed"] as const)
      if (o[field] !== undefined && o[field] !== COMMON[field])
        throw new CpmError("bad-option", `${field}: there is no calibration to choose from; leave it out`, { field });
  if (hasGrid(type) || o.keep?.some(([, kept]) => hasGrid(kept))) return;
  refuse(["damp", "actOrder", "skip"], `${type} has no grid that errors are fed back on`);
  if (!smooths(method)) refuse(["hessian", "hessianRows"], `${type} has no grid that errors are fed back on`);
}

function checked(o: QuantizeOptions) {
  const type = oneOf("type", o.type, TARGETS);
  const method = oneOf("method", o.method ?? (o.calibration ? "gptq" : "search"), METHODS);
  const calibrated = feedsBack(method) || smooths(method);
  if (calibrated && !o.calibration)
    throw new CpmError("bad-option", `method: ${method} needs calibration text; give some, or use "search"`, {
      field: "calibration",
      expected: "calibration texts",
      found: "none",
    });
  if (method === "rtn" && (o.calibration || o.imatrix))
    throw new CpmError("bad-option", 'method: "rtn" looks at no calibration; leave it out, or use "search"', { field: "method" });
  if (o.calibration && o.imatrix)
    throw new CpmError("bad-option", "imatrix: calibration makes an importance matrix of its own; give one of them", {
      field: "imatrix",
    });
  refuseIdle(o, type, method);
  const group = o.group ?? DEFAULTS.group;
  if (![32, 64, 128].includes(group)) throw bad("group", "32, 64 or 128", group);
  const damp = o.damp ?? DEFAULTS.damp;
  if (!(damp > 0 && damp <= 1)) throw bad("damp", "a number above 0, at most 1", damp);
  if (o.prefix !== undefined && !skipsFirst(method))
    throw new CpmError("bad-option", `prefix: ${method} leaves no positions out; choose "p-gptq" or "awq+p-gptq"`, {
      field: "prefix",
    });
  if (o.prefix !== undefined && o.prefix !== "auto" && !(Array.isArray(o.prefix) && o.prefix.length > 0))
    throw bad("prefix", '"auto" or a list of tokens', o.prefix);
  const version = o.checkpointVersion ?? DEFAULTS.checkpointVersion;
  if (version !== 1 && version !== 2) throw bad("checkpointVersion", "1 or 2", version);
  return {
    type,
    method,
    group,
    damp,
    version,
    actOrder: o.actOrder === true,
    hessian: oneOf("hessian", o.hessian ?? DEFAULTS.hessian, HESSIANS),
    hessianRows: o.hessianRows === undefined ? undefined : whole("hessianRows", o.hessianRows, 1, 2 ** 31 - 1),
    skip: whole("skip", o.skip ?? DEFAULTS.skip, 0, 1024),
    keep: o.keep ?? [],
  } as const;
}

function common(o: CommonOptions) {
  const threads = o.threads ?? "auto";
  if (threads !== "auto") whole("threads", threads, 1, 64);
  const memory = o.maxMemoryBytes ?? Number.POSITIVE_INFINITY;
  if (typeof memory !== "number" || !(memory >= LEAST_MEMORY))
    throw bad("maxMemoryBytes", `at least ${LEAST_MEMORY} bytes (4 MiB)`, memory);
  return {
    length: whole("length", o.length ?? COMMON.length, 8, 1 << 17),
    samples: whole("samples", o.samples ?? COMMON.samples, 1, 1 << 20),
    seed: whole("seed", o.seed ?? COMMON.seed, 0, 2 ** 32 - 1),
    threads,
    memory,
    turbo: o.turbo === true,
  };
}

export interface QuantisePlatform extends QuantiseModules {
  /** Absent where there is no file system. */
  readonly openPath?: (path: string) => ModelFiles | Promise<ModelFiles>;
}

/** The quantiser over a platform. */
export function openQuantise(platform: QuantisePlatform) {
  const open = async (input: ModelInput, signal: AbortSignal | undefined): Promise<ModelFiles> => {
    const files = await openInput(inputKind(input), platform.openPath);
    return signal ? abortable(files, signal) : files;
  };
  return {
    /** `fallbackName`: what a GGUF of a folder is called where the folder does not say. */
    async quantize(
      model: ModelInput,
      destination: Destination,
      options: QuantizeOptions,
      fallbackName?: string,
    ): Promise<QuantizeReport> {
      const { signal, onProgress, onWarning } = options;
      let files: ModelFiles | undefined;
      let machine: Machine | undefined;
      let begun = false;
      try {
        const settings = checked(options);
        const { threads, memory, turbo, ...choice } = common(options);
        signal?.throwIfAborted();
        files = await open(model, signal);
        const source = await openSource(files, { target: settings.type, fallbackName, signal });
        const tokenizer = options.calibration && new Tokenizer(source.model.tokenizer);
        const chosen = tokenizer
          ? await chooseSequences(options.calibration, tokenizer, source.model.config, choice, signal)
          : [];
        const imatrix = options.imatrix === undefined ? undefined : await imatrixOf(await open(options.imatrix, signal), signal);
        if (imatrix) checkImatrix(imatrix, source, onWarning);
        if (
          options.calibration &&
          !smooths(settings.method) &&
          ![settings.type, ...settings.keep.map(([, t]) => t)].some(hasGrid)
        )
          onWarning?.(
            `${settings.type} has no grid that calibration could choose on: it takes time and changes nothing; leave it out`,
          );
        const { rounded } = source;
        if (rounded.length)
          onWarning?.(
            `${rounded.length} tensors were quantised before (${rounded[0]}, ...): their errors stay; start from the float model if there is one`,
          );
        machine = await Machine.open(platform, threads, memory, turbo);
        begun = true;
        const given = options.prefix;
        const bos = tokenizer?.bos;
        const prefix =
          given === "auto"
            ? await findPrefix(machine, source, chosen, destination, bos, { signal })
            : given && { tokens: checkPrefix(given, source.model.config.vocab), outliers: undefined };
        const sequences = prefix ? withPrefix(chosen, prefix.tokens, bos, choice.length) : chosen;
        const skip = prefix && options.skip === undefined ? prefix.tokens.length : settings.skip;
        const seed = settings.hessianRows === undefined ? 0 : choice.seed;
        const run = { ...settings, skip, seed };
        const report = await runQuantise(machine, files, source, sequences, imatrix, run, destination, {
          signal,
          ...(onProgress ? { onProgress } : {}),
          ...(onWarning ? { onWarning } : {}),
        });
        await destination.end(false);
        return prefix ? { ...report, prefix } : report;
      } catch (error) {
        // A command that was refused leaves nothing, and what a killed run keeps stays for the right one. What the model's values make
        // impossible is so again.
        const hopeless = begun && error instanceof CpmError && error.code === "bad-model";
        await destination.end(!hopeless && (await destination.load()) !== undefined);
        throw error;
      } finally {
        await machine?.end();
        await files?.close();
      }
    },

    /** Mean squared inputs of every linear of the layers, over the model as it is. */
    async imatrix(model: ModelInput, scratch: Destination, options: ImatrixOptions): Promise<Imatrix> {
      const { signal } = options;
      let files: ModelFiles | undefined;
      let machine: Machine | undefined;
      try {
        const { threads, memory, turbo, ...choice } = common(options);
        files = await open(model, signal);
        const source = await openSource(files, { signal });
        const sequences = await chooseSequences(
          options.calibration,
          new Tokenizer(source.model.tokenizer),
          source.model.config,
          choice,
          signal,
        );
        machine = await Machine.open(platform, threads, memory, turbo);
        return await observe(machine, source, sequences, scratch, options, choice.length);
      } finally {
        await scratch.end(false);
        await machine?.end();
        await files?.close();
      }
    },
  };
}

/** @throws CpmError "bad-input" for an importance matrix of another model */
function checkImatrix(imatrix: Imatrix, source: OpenedSource, warn: CommonOptions["onWarning"]): void {
  const names = new Set(source.tensors.map(({ ggufName }) => ggufName));
  let fitting = 0;
  for (const { tensor, role, ggufName } of source.tensors)
    if (role.layer >= 0 && fuse(imatrix, ggufName, tensor.shape[1]!)) fitting++;
  if (fitting === 0)
    throw new CpmError(
      "bad-input",
      `importance matrix: none of its ${imatrix.entries.size} tensors is one of this model's layers; it was made of another model`,
      { field: "imatrix" },
    );
  const strange = [...imatrix.entries.keys()].filter((name) => !names.has(name));
  if (strange.length)
    warn?.(
      `the importance matrix has ${strange.length} tensors that this model has not (${printable(strange[0]!, 60)}): was it made of this one?`,
    );
}

function checkPrefix(tokens: readonly number[], vocab: number): readonly number[] {
  for (const token of tokens) whole("prefix", token, 0, vocab - 1);
  return tokens;
}

async function imatrixOf(files: ModelFiles, signal: AbortSignal | undefined): Promise<Imatrix> {
  try {
    const source = await files.open(files.entry, signal);
    if (!source) throw new CpmError("io", `${files.entry}: there is no such file`, { file: files.entry });
    return await readImatrix(source, signal);
  } finally {
    await files.close();
  }
}

async function observe(
  machine: Machine,
  source: OpenedSource,
  sequences: readonly (readonly number[])[],
  scratch: Destination,
  { signal, onProgress }: CommonOptions,
  chunkSize: number,
): Promise<Imatrix> {
  const { model } = source;
  const { layers } = model.config;
  const entries = new Map<string, Float64Array>();
  const names = new Map(source.tensors.map(({ role, ggufName }) => [`${role.layer} ${role.part}`, ggufName]));
  const lengths = sequences.map(({ length }) => length);
  const rows = lengths.reduce((a, b) => a + b, 0);
  let layer = 0;
  let seen = 0;
  const begun = machine.host.now();
  const passes = new Passes(machine, model, lengths, scratch, {
    signal,
    onRows(count) {
      seen += count;
      const fraction = seen / (2 * rows * layers);
      const secondsLeft = ((machine.host.now() - begun) / 1000) * (1 / fraction - 1);
      onProgress?.({ phase: "calibrate", layer, layers, fraction, secondsLeft });
    },
  });
  try {
    await embedSequences(machine, source, sequences, await passes.store("hidden-0"), signal);
    const hooks = { signal, work() {}, warn() {}, put: async () => {}, putVector: async () => {} };
    const run = new LayerRun(machine, passes, model.config, PLAIN_SETTINGS, hooks);
    for (; layer < layers; layer++) {
      const [from, to] = [`hidden-${layer % 2}`, `hidden-${(layer + 1) % 2}`];
      const files = model.layers[layer]!;
      await run.forward(layer, files, from, to);
      const { hidden, attended, inner } = passes.sizes;
      const cols = { qkv: hidden, o: attended, mlp: hidden, down: inner };
      const sums = STAGE_NAMES.map((stage) => [stage, new Hessian(machine, cols[stage], false)] as const);
      try {
        const of = Object.fromEntries(sums) as Record<(typeof STAGE_NAMES)[number], Hessian>;
        await passes.observe(from, async (stage, at, count) => await of[stage].addAt(at, count));
        for (const [stage, sum] of sums)
          for (const part of STAGES[stage]) entries.set(names.get(`${layer} ${part}`)!, sum.importance());
      } finally {
        for (const [, sum] of sums.reverse()) sum.end(false);
      }
    }
    return { entries, rows, chunkSize };
  } finally {
    passes.end();
  }
}
