// Calibration: texts or tokens -> sequences that begin as texts begin, chosen by a seed.
import { after, now } from "../clock.ts";
import { CpmError } from "../errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { type ChatMessage, renderChat } from "../text/template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** A conversation, written by the model's own chat template. */
export interface CalibrationChat {
  readonly messages: readonly ChatMessage[];
}

/** Texts, conversations and sequences of tokens. A text longer than a sequence gives several, each with the beginning-of-text token. */
export type Calibration = readonly (string | CalibrationChat | readonly number[])[];

/** Milliseconds of tokenising between two looks at the caller's event loop. */
const SLICE_MS = 12;

/** Shorter sequences say nothing about how a model continues. */
const LEAST = 8;

export interface SequenceChoice {
  readonly length: number;
  readonly samples: number;
  readonly seed: number;
}

/**
 * Sequences of at most `length` tokens; long texts are tokenised in slices of time.
 * Rejects with CpmError "bad-input" for what is neither text nor tokens, tokens outside the vocabulary, and texts that are all too short; or with
 * the signal's reason.
 */
export async function chooseSequences(
  calibration: Calibration,
  tokenizer: Tokenizer,
  config: Pick<ModelConfig, "vocab">,
  { length, samples, seed }: SequenceChoice,
  signal?: AbortSignal,
): Promise<readonly (readonly number[])[]> {
  const all: (readonly number[])[] = [];
  let since = now();
  const rest = async () => {
    if (now() - since < SLICE_MS) return;
    await new Promise<void>((done) => {
      after(0, done);
    });
    signal?.throwIfAborted();
    since = now();
  };
  const begin = tokenizer.bos === undefined ? [] : [tokenizer.bos];
  for (const [i, item] of calibration.entries()) {
    const text = textOf(item, tokenizer);
    if (text !== undefined) {
      const steps = tokenizer.encodeSteps(text, { bos: false, eos: false });
      let last = steps.next();
      for (; !last.done; last = steps.next()) await rest();
      const encoded = last.value;
      const tokens = begin.length > 0 && encoded[0] === begin[0] ? encoded.slice(1) : encoded;
      const step = length - begin.length;
      for (let at = 0; at < tokens.length; at += step) {
        const some = [...begin, ...tokens.slice(at, at + step)];
        if (some.length >= LEAST) all.push(some);
      }
      await rest();
    } else if (Array.isArray(item)) {
      const wrong = item.find(
        (token: unknown) => !(Number.isSafeInteger(token) && (token as number) >= 0 && (token as number) < config.vocab),
      );
      if (wrong !== undefined)
        throw new CpmError("bad-input", `calibration: sequence ${i}: ${wrong} is no token of this model`, {
          field: "calibration",
        });
      if (item.length >= LEAST) all.push((item as readonly number[]).slice(0, length));
      await rest();
    } else throw new CpmError("bad-input", `calibration: item ${i} is neither a text nor tokens`, { field: "calibration" });
  }
  if (all.length === 0)
    throw new CpmError("bad-input", `calibration: the text is too short: no sequence of ${LEAST} tokens or more`, {
      field: "calibration",
      expected: `at least ${LEAST} tokens`,
      found: "less",
    });
  return all.length <= samples ? all : chosen(all, samples, seed);
}

function textOf(item: Calibration[number], tokenizer: Tokenizer): string | undefined {
  if (typeof item === "string") return item;
  if (Array.isArray(item) || typeof item !== "object" || item === null || !("messages" in item)) return undefined;
  return renderChat(tokenizer.data, item.messages, { addGenerationPrompt: false }).text;
}

/** `count` of them in their order, by a shuffle that is the same everywhere (xorshift32). */
function chosen<T>(all: readonly T[], count: number, seed: number): T[] {
  const order = all.map((_, i) => i);
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  for (let i = order.length - 1; i > 0; i--) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order
    .slice(0, count)
    .sort((a, b) => a - b)
    .map((i) => all[i]!);
}
