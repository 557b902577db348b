import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import { load, variants } from "../support/engine.ts";
import { shared } from "../support/golden.ts";
import { say } from "./rig.ts";

interface Tree {
  readonly tokens: readonly number[];
  readonly parents: readonly number[];
  readonly depths: readonly number[];
  readonly mask: readonly number[];
  readonly values: readonly number[];
}

interface Run {
  readonly prompt: readonly number[];
  readonly new_tokens: readonly number[];
  readonly depth: number;
  readonly width: number;
  readonly size: number;
  readonly window: number;
  readonly draft_vocab: readonly number[] | null;
  readonly accepted_per_round: readonly number[];
  readonly first_trees: readonly Tree[];
}

const model = shared("golden/target-f32.gguf");
const head = shared("golden/eagle-head.safetensors");

describe.skipIf(!model || !head)("EAGLE-2 against its definition", () => {
  for (const name of ["full", "frspec", "window"])
    for (const [variant, threads, kvType] of [...variants.map((v) => [v, 1, "f32"] as const), ["base", 2, "f32"] as const])
      test(`${name}: same trees, same accepted lengths, same tokens (${variant}, ${threads} threads)`, async () => {
        const golden = JSON.parse(readFileSync(shared(`golden/eagle-${name}.json`)!, "utf8")) as Run;
        const trees: Tree[] = [];
        const accepted: number[] = [];
        const { depth, width, size, window } = golden;
        const eagle = {
          weights: "auto" as const,
          depth,
          width,
          size,
          window,
          vocabulary: golden.draft_vocab ?? undefined,
        };
        const watch: NonNullable<Parameters<typeof load>[2]>["watch"] = (tree, path) => {
          accepted.push(path.length);
          const part = (values: ArrayLike<number>) => Array.from(values).slice(0, tree.size);
          const values = part(tree.chance).map(Math.log);
          for (let i = 1; i < tree.size; i++) values[i]! += values[tree.parents[i]!]!;
          trees.push({
            tokens: part(tree.tokens),
            parents: part(tree.parents),
            depths: part(tree.depths),
            mask: part(tree.maskLow),
            values,
          });
        };
        const engine = await load(
          model!,
          { variant, threads, kvType, draft: { ...checkDraft(false), eagle, adaptive: false } },
          { watch },
          head,
        );
        // The definition goes on past the end token.
        Object.assign(engine.info.tokenizer, { stop: [] });
        const result = await say(engine, golden.prompt, { maxTokens: 60 });
        expect(result.tokens.slice(0, 40)).toEqual(golden.new_tokens);
        expect(accepted.slice(0, golden.accepted_per_round.length)).toEqual(golden.accepted_per_round);
        for (const [i, tree] of golden.first_trees.entries()) {
          const { values, ...rest } = trees[i]!;
          const { values: wanted, ...shape } = tree;
          expect(rest).toEqual(shape);
          for (const [j, value] of wanted.entries()) expect(values[j]).toBeCloseTo(value, 3);
        }
      });
});
