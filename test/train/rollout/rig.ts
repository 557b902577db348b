// Small policies over characters, on the modules as committed.
import type { Sample } from "../../../src/data/verify/types.ts";
import { memoryFiles } from "../../../src/file/bytes.ts";
import type { ModelFiles } from "../../../src/file/source.ts";
import { Tokenizer } from "../../../src/text/tokenizer.ts";
import { folderFiles } from "../../../src/train/folder.ts";
import { shapeOfModel } from "../../../src/train/model.ts";
import type { RolloutPrompt } from "../../../src/train/rollout/groups.ts";
import { normal, scratchModel, tokenizerParts } from "../../../src/train/scratch.ts";
import { modelExport } from "../../../src/train/tensors.ts";
import { Trainer, type TrainerOptions } from "../../../src/train/trainer.ts";
import { machineOf } from "../rig.ts";
import { characterTokenizer } from "./characters.mjs";

export const CHARACTERS = "0123456789+=";

export interface Policy {
  readonly trainer: Trainer;
  readonly reference: Trainer;
  readonly tokenizer: Tokenizer;
  weights(): ModelFiles;
}

export async function policyOf(options: Partial<TrainerOptions> = {}, seed = 3): Promise<Policy> {
  const parts = await tokenizerParts(memoryFiles("", characterTokenizer(CHARACTERS)));
  const made = await scratchModel(
    {
      hidden_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      intermediate_size: 48,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-5,
      scale_emb: 12,
      scale_depth: 1.4,
      dim_model_base: 32,
      tie_word_embeddings: true,
    },
    parts,
    CHARACTERS.length + 1,
  );
  const size = { shape: shapeOfModel(made.model.config, 48), rows: 2, length: 48 };
  const trainer = await Trainer.create(await machineOf(), {
    ...size,
    objective: { kind: "policy", beta: 0.01 },
    optimiser: { schedule: { kind: "constant", peak: 3e-3, warmup: 0 }, weightDecay: 0 },
    ...options,
  });
  trainer.initialise(normal(seed), [...trainer.graph.tensors.keys()]);
  const reference = await Trainer.create(await machineOf(), { ...size, objective: { kind: "policy" }, evaluateOnly: true });
  return {
    trainer,
    reference,
    tokenizer: new Tokenizer(parts.tokenizer),
    weights: () => folderFiles(made.parts, modelExport(trainer)),
  };
}

/** Prompts whose right answers hold the digit asked for. */
export const digitPrompts = (tokenizer: Tokenizer): RolloutPrompt[] =>
  Array.from({ length: 10 }, (_, digit) => ({
    tokens: tokenizer.encode(`${digit}+${digit}=`, { bos: false, eos: false }),
    sample: { id: digit, answer: String(digit) } satisfies Sample,
  }));

/** 1 where the digit asked for stands among the first three characters: what an untrained policy hits now and then. */
export const holdsDigit = ({ response = "", answer }: Sample): number => (response.slice(0, 3).includes(String(answer)) ? 1 : 0);

export const weightsOf = (trainer: Trainer): Map<string, ArrayLike<number>> =>
  new Map(trainer.trained.map(({ name }) => [name, trainer.get(name)]));
