// cpm quantize and cpm imatrix: smaller models, and what their inputs weigh.
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import type { Calibration, HessianForm, Method, QuantizeProgress, QuantizeReport, Target } from "cpm-wasm/quantise";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { modelOf } from "./model.ts";
import { networkArgs } from "./options.ts";
import { note, printJson, table, write } from "./output.ts";
import { duration } from "./perplexity.ts";
import { readyToSave, save } from "./picture.ts";
import { ProgressBar } from "./progress.ts";
import { readText } from "./textfile.ts";
import { visibleLine } from "./visible.ts";

const calibrationArgs = {
  calibration: {
    type: "string",
    valueHint: "FILE",
    description: "Text, or .jsonl with a text, messages or tokens a line: each a sequence of its own",
  },
  length: { type: "string", valueHint: "N", description: "Tokens of a calibration sequence, at most (default 512)" },
  samples: { type: "string", valueHint: "N", description: "Calibration sequences, at most (default 128)" },
  seed: { type: "string", valueHint: "N", description: "Which of more sequences are taken (default 0)" },
  threads: { type: "string", valueHint: "N", description: 'Threads, or "auto": physical cores (default)' },
  turbo: { type: "boolean", description: "Node 24 and newer: 256-bit vectors, an experimental feature of V8; the same bytes" },
  memory: { type: "string", valueHint: "MIB", description: "What the quantiser may hold at once (default 4096)" },
  force: { type: "boolean", description: "Replace what has the output's name" },
  json: { type: "boolean", description: "Print the report as JSON" },
  ...networkArgs,
} as const;

const sourceArg = {
  source: { type: "positional", required: true, description: "A GGUF, a Hugging Face folder, or a name: org/repo:F16" },
} as const;

export const quantize: Command = {
  name: "quantize",
  description: "Quantise a model: a GGUF or a folder into a GGUF, a folder into int4 (GPTQ)",
  args: {
    ...sourceArg,
    output: { type: "positional", required: true, description: "Where it goes: a GGUF file, or a folder for int4" },
    type: {
      type: "string",
      valueHint: "TYPE",
      description: "F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K, Q4_1, Q4_0, TQ1_0, TQ2_0, or int4 (default Q4_K)",
    },
    method: {
      type: "string",
      valueHint: "M",
      description: "rtn, search, gptq, p-gptq, awq, awq+gptq, awq+p-gptq (default gptq with calibration, else search)",
    },
    ...calibrationArgs,
    imatrix: { type: "string", valueHint: "FILE", description: "Importance matrix in place of calibration (.gguf or .dat)" },
    group: { type: "string", valueHint: "N", description: "Columns that share a scale in int4: 32, 64, 128 (default)" },
    keep: { type: "string", valueHint: "PATTERN=TYPE", description: "Tensors of another type, as blk.0.*=Q8_0; may be repeated" },
    damp: { type: "string", valueHint: "X", description: "Damping of error feedback (default 0.01)" },
    "act-order": { type: "boolean", description: "Error feedback takes the most important columns first" },
    hessian: {
      type: "string",
      valueHint: "H",
      description: "Inputs' products, for feedback and smoothing: float (default) or int16, sooner done",
    },
    "hessian-rows": {
      type: "string",
      valueHint: "N",
      description: "Rows of inputs that these are summed over, some of every sequence (default all)",
    },
    prefix: {
      type: "string",
      valueHint: "auto|IDS",
      description: "Tokens that calibration begins with and p-gptq leaves out (1,2,3)",
    },
    "checkpoint-version": { type: "string", valueHint: "1|2", description: "Of int4's zero points (default 1)" },
    svg: { type: "string", valueHint: "FILE", description: "Draw the error of every tensor" },
    spec: { type: "string", valueHint: "FILE", description: "Write the picture's Vega-Lite specification" },
  },
  repeated: ["keep"],
  async run(args) {
    const [source, output] = places("quantize", args);
    const pictures = await readyToSave(args.text("spec"), args.text("svg"));
    const { quantize: work, quantizePicture } = await import("cpm-wasm/quantise");
    const shown = new Shown(args.flag("json"));
    const file = args.text("calibration");
    try {
      const report = await work(await modelOf(source, args.flag("json")), output, {
        type: (args.text("type") ?? "Q4_K") as Target,
        method: args.text("method") as Method | undefined,
        calibration: file === undefined ? undefined : await calibrationOf(file),
        imatrix: args.text("imatrix"),
        group: args.number("group"),
        keep: args.list("keep").map(ruleOf),
        damp: args.number("damp"),
        actOrder: args.flag("act-order"),
        hessian: args.text("hessian") as HessianForm | undefined,
        hessianRows: args.number("hessian-rows"),
        prefix: prefixOf(args.text("prefix")),
        checkpointVersion: args.number("checkpoint-version") as 1 | 2 | undefined,
        ...common(args, shown),
      });
      shown.close();
      await save(quantizePicture(report, basename(output)), pictures);
      const warnings = [...new Set([...shown.warnings, ...report.warnings])];
      await (args.flag("json") ? printJson({ ...report, warnings }) : write(told(output, report)));
    } catch (error) {
      shown.close();
      if (
        interrupt.signal.aborted &&
        !args.flag("json") &&
        existsSync(join(dirname(output), `.${basename(resolve(output))}.quantising`))
      )
        note("interrupted; the same command goes on where this one ended");
      throw error;
    } finally {
      shown.close();
    }
  },
};

export const imatrix: Command = {
  name: "imatrix",
  description: "Collect an importance matrix, as llama-imatrix does",
  args: {
    ...sourceArg,
    output: { type: "positional", required: true, description: "Where it goes: a GGUF file, or the older format as NAME.dat" },
    ...calibrationArgs,
    calibration: { ...calibrationArgs.calibration, required: true },
  },
  async run(args) {
    const [source, output] = places("imatrix", args);
    const file = args.text("calibration");
    if (file === undefined) throw new UsageError("cpm imatrix: give a text with --calibration");
    const { imatrix: work } = await import("cpm-wasm/quantise");
    const shown = new Shown(args.flag("json"));
    try {
      const found = await work(await modelOf(source, args.flag("json")), output, {
        calibration: await calibrationOf(file),
        ...common(args, shown),
      });
      shown.close();
      const { entries, rows } = found;
      await (args.flag("json")
        ? printJson({ output, tensors: entries.size, rows })
        : write(`${output}: ${entries.size} tensors, ${rows} rows of inputs\n`));
    } finally {
      shown.close();
    }
  },
};

function places(command: string, args: Parsed): [string, string] {
  const [source, output] = args.positionals;
  if (source === undefined || output === undefined)
    throw new UsageError(`cpm ${command}: give a model and where the result goes`);
  return [source, output];
}

function common(args: Parsed, shown: Shown) {
  const memory = args.number("memory");
  if (memory !== undefined && !(memory >= 4)) throw new UsageError(`--memory: expected MiB, 4 or more, found ${memory}`);
  return {
    length: args.number("length"),
    samples: args.number("samples"),
    seed: args.number("seed"),
    threads: args.text("threads") === "auto" ? ("auto" as const) : args.number("threads"),
    turbo: args.flag("turbo"),
    maxMemoryBytes: memory === undefined ? undefined : memory * 2 ** 20,
    force: args.flag("force"),
    signal: interrupt.signal,
    onProgress: shown.progress,
    onWarning: shown.warning,
  };
}

function prefixOf(text: string | undefined): "auto" | readonly number[] | undefined {
  if (text === undefined || text === "auto") return text;
  return text.split(",").map((part) => {
    if (!/^\s*\d+\s*$/.test(part)) throw new UsageError(`--prefix: expected auto or token ids like 1,2,3, found "${text}"`);
    return Number(part);
  });
}

function ruleOf(text: string): readonly [string, string] {
  const at = text.lastIndexOf("=");
  if (at < 1) throw new UsageError(`--keep: expected PATTERN=TYPE, found "${text}"`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** Sequences of a file: its whole text, or one item a line of JSON. */
async function calibrationOf(file: string): Promise<Calibration> {
  const text = await readText(file, "--calibration");
  if (!/\.jsonl$/i.test(file)) return [text];
  return text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .flatMap((line, i): Calibration => {
      if (line.trim() === "") return [];
      const refuse = (why: string): never => {
        throw new CpmError(
          "bad-input",
          `${file}: line ${i + 1}: ${why}; expected {"text": …}, {"messages": […]} or {"tokens": […]}`,
          { file },
        );
      };
      let record: unknown;
      try {
        record = JSON.parse(line);
      } catch (cause) {
        refuse(reasonOf(cause));
      }
      if (typeof record !== "object" || record === null) return refuse("no object");
      const { text: own, tokens, messages } = record as { text?: unknown; tokens?: unknown; messages?: unknown };
      if (typeof own === "string") return [own];
      if (Array.isArray(tokens)) return [tokens as number[]];
      if (Array.isArray(messages)) return [{ messages } as Calibration[number]];
      return refuse("none of these");
    });
}

class Shown {
  readonly #bar: ProgressBar | undefined;
  readonly #json: boolean;
  /** All that was told; a program gets it with the report. */
  readonly warnings: string[] = [];

  constructor(json: boolean) {
    this.#json = json;
    this.#bar = !json && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  }

  readonly warning = (message: string): void => {
    this.warnings.push(message);
    if (!this.#json) note(visibleLine(message));
  };

  readonly progress = ({ fraction, layer, layers, tensor, secondsLeft }: QuantizeProgress): void =>
    this.#bar?.show({
      what: "quantising",
      done: fraction,
      total: 1,
      more: [
        secondsLeft === undefined ? "" : `${duration(secondsLeft)} left`,
        layer >= 0 && layer < layers ? `layer ${layer + 1} of ${layers}` : "",
        tensor ?? "",
      ],
    });

  close(): void {
    this.#bar?.close();
  }
}

/** Tensors by type: how many, and how far the worst is from what it was: the root of its squared error over the sum of squares. */
function told(output: string, { tensors, bytes, bitsPerWeight, resumedAt, prefix }: QuantizeReport): string {
  const types = new Map<string, { count: number; bytes: number; worst: number; hows: Set<string> }>();
  for (const t of tensors) {
    const of = types.get(t.type) ?? { count: 0, bytes: 0, worst: 0, hows: new Set() };
    types.set(t.type, of);
    of.count++;
    of.bytes += t.bytes;
    of.worst = Math.max(of.worst, t.relativeError);
    of.hows.add(t.how);
  }
  const rows = [...types].map(([type, t]) => [
    type,
    `${t.count}`,
    (t.bytes / 1e6).toFixed(2),
    t.worst > 0 ? `${(100 * Math.sqrt(t.worst)).toPrecision(3)} %` : "none",
    [...t.hows].join(", "),
  ]);
  const resumed = resumedAt > 0 ? `, taken up at layer ${resumedAt + 1}` : "";
  const begun = prefix ? `\nprefix tokens: ${prefix.tokens.join(", ")}` : "";
  return `${output}: ${(bytes / 1e6).toFixed(2)} MB, ${bitsPerWeight.toFixed(3)} bits a weight${resumed}\n\n${table([["type", "tensors", "MB", "worst error", "how"], ...rows])}${begun}\n`;
}
