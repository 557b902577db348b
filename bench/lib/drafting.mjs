// What the measurements of drafting share: engines over the built package, and generations of set texts.
import { assemble } from "../../dist/engine/assemble.js";
import { Batcher } from "../../dist/engine/batcher.js";
import { Engine } from "../../dist/engine/engine.js";
import { TextRun } from "../../dist/engine/run.js";
import { Speculation } from "../../dist/engine/speculate.js";
import { pathFiles } from "../../dist/host/node.files.js";
import { nodePlatform } from "../../dist/host/node.platform.js";

export const host = await nodePlatform("node").host();
export const greedy = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyWindow: 0,
  logitBias: [],
  seed: 0,
  logprobs: -1,
};
export const none = { lookup: "off", eagle: undefined, model: undefined, adaptive: true, size: 64 };

/** Ways to load: `open` an engine with a session, or its parts `assembled`. */
export function rig({ threads, variant }) {
  const common = { kvType: "f16", threads, variant, batchSize: 256, maxMemoryBytes: undefined };
  return {
    async open(model, draft, { drafter, head, front, contextSize } = {}) {
      const engine = await Engine.load(
        host,
        await pathFiles(model),
        { ...common, contextSize, draft: { ...none, ...draft } },
        drafter ? { drafter } : {},
        head && (await pathFiles(head)),
        [],
        front && (await pathFiles(front)),
      );
      return { engine, session: await engine.open() };
    },

    /** For 1024 tokens; the files are closed again. */
    async assembled(model, draft, head) {
      const files = [await pathFiles(model), ...(head ? [await pathFiles(head)] : [])];
      const parts = await assemble(host, files[0], { ...common, contextSize: 1024, draft }, {}, files[1]);
      for (const file of files) await file.close();
      return parts;
    },
  };
}

/** Milliseconds a token, and what was said. */
export async function say({ engine, session }, prompt, maxTokens, sampling = greedy, draft = "text") {
  const request = { prompt, maxTokens, sampling, stopTokens: [], stop: [], thinking: "none", special: false, draft };
  const result = await engine.generate(session, request, { onPart() {} });
  return { ...result, ms: result.timings.decodeMs / Math.max(1, result.tokens.length - 1) };
}

export function title({ engine }) {
  const flags = process.execArgv.join(" ");
  const { config, threads, variant } = engine.info;
  console.log(`${config.name}, ${threads} thread${threads > 1 ? "s" : ""}, ${variant}, Node ${process.versions.node} ${flags}`);
}

/** A generation that says `text` whatever the model's logits are: the costs are the real ones. */
export async function scripted(parts, sequence, prompt, text, maxTokens, drafting) {
  const { stepper, meter, table } = parts;
  sequence.tokens.length = 0;
  const sampler = { sample: (_, position) => ({ token: text[position - prompt.length] }) };
  const samplers = Array.from({ length: stepper.logitRows }, () => sampler);
  const now = () => host.now();
  const request = { prompt, maxTokens, sampling: greedy, stopTokens: [], stop: [], thinking: "none", special: false };
  const speculation = new Speculation(drafting, undefined);
  const run = new TextRun({ now, table, stop: [], speculation, slide() {} }, sequence, request, { onPart() {} });
  const batcher = new Batcher({ stepper, samplers, costs: meter, budget: drafting?.budget, now });
  batcher.add(run);
  while (!run.settled) await batcher.step({ throwIfAborted() {} });
  return run.result;
}
