// How many sentences a prompt of a given number of tokens takes.
import { CpmError } from "../../errors.ts";
import type { Prompts } from "../tokens.ts";
import type { LongText, LongTextMaker } from "./needles.ts";

export interface Fitted extends LongText {
  /** The prompt as the model gets it, and its tokens. */
  readonly prompt: string;
  readonly tokens: readonly number[];
}

/**
 * The longest text whose prompt has at most `most` tokens, or one that is within 1 % of that.
 * @throws CpmError "bad-option" where not even the shortest text fits
 */
export async function fitted(maker: LongTextMaker, prompts: Prompts, most: number): Promise<Fitted> {
  const tried = new Map<number, Fitted>();
  const at = async (units: number): Promise<Fitted> => {
    const found = tried.get(units);
    if (found) return found;
    const long = maker.make(units);
    const prompt = prompts.textOf(long.text, long.lead);
    const made = { ...long, prompt, tokens: await prompts.tokensOf(prompt) };
    tried.set(units, made);
    return made;
  };
  let [low, lowSize] = [0, (await at(0)).tokens.length];
  if (lowSize > most)
    throw new CpmError(
      "bad-option",
      `lengths: this text takes at least ${lowSize} tokens, ${most} are given; ask for longer ones`,
      {
        field: "lengths",
      },
    );
  const sample = Math.min(64, maker.most);
  let [high, highSize] = [sample, (await at(sample)).tokens.length];
  const near = most - Math.max(8, Math.floor(most / 100));
  while (high < maker.most && highSize <= most) {
    [low, lowSize] = [high, highSize];
    if (lowSize >= near) return at(low);
    high = Math.min(maker.most, Math.max(high + 1, Math.ceil((high * most * 1.02) / highSize)));
    highSize = (await at(high)).tokens.length;
  }
  if (highSize <= most) return at(high);
  while (high - low > 1 && lowSize < near) {
    const guess = low + Math.floor(((high - low) * (most - lowSize)) / (highSize - lowSize));
    const next = Math.min(high - 1, Math.max(low + 1, guess));
    const size = (await at(next)).tokens.length;
    if (size <= most) [low, lowSize] = [next, size];
    else [high, highSize] = [next, size];
  }
  return at(low);
}
