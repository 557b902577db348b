import type { ModelInput } from "../../src/file/kind.ts";
import type { Weights } from "./definition.mjs";

export interface Checked {
  readonly name: string;
  readonly passed: boolean;
  readonly line: string;
}
export function checkFamilies(dir: string, only?: readonly string[]): AsyncGenerator<Checked>;
export function rounded(form: {
  readonly config: Readonly<Record<string, unknown>>;
  readonly weights: Weights;
  readonly source: ModelInput;
  readonly sequences: readonly {
    readonly tokens: readonly number[];
    readonly positions: readonly number[];
    readonly logits: readonly (readonly number[] | Float64Array)[];
    readonly greedy: readonly number[];
  }[];
  readonly type: "Q8_0" | "Q4_0";
}): Promise<{ readonly part: string; readonly passed: boolean }>;
