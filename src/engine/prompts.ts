// Prompts: texts to tokens in steps, and what a model can take.
import { CpmError } from "../errors.ts";
import type { Stop } from "../signals.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import type { Stepper } from "./forward.ts";
import type { Sequence } from "./sequences.ts";

export class Prompts {
  readonly #data: TokenizerData;
  readonly #stepper: Stepper;
  readonly #end: AbortSignal;
  #tokenizer: Tokenizer | undefined;

  /** `end`: ends what is being encoded. */
  constructor(data: TokenizerData, stepper: Stepper, end: AbortSignal) {
    this.#data = data;
    this.#stepper = stepper;
    this.#end = end;
  }

  /**
   * A prompt's tokens; a BOS that the text already spells is not doubled. Looks at the signal and the event loop on the way, and refuses
   * as soon as there are more tokens than fit.
   */
  async encode(text: string, most: number, signal: Stop | undefined, ends?: "template" | "chat"): Promise<number[]> {
    this.#tokenizer ??= new Tokenizer(this.#data);
    // A template of the model's own says everything that stands in a prompt; a chat's prompt never ends in EOS.
    const plain = ends === "template" ? { bos: false, eos: false } : ends === "chat" ? { eos: false } : {};
    const steps = this.#tokenizer.encodeSteps(text, plain);
    let step = steps.next();
    for (; !step.done; step = steps.next()) {
      if (step.value.length > most + 1)
        throw new CpmError(
          "context-overflow",
          `the prompt has more than the ${most} tokens that the context holds; shorten it or load with a larger contextSize`,
          { field: "prompt" },
        );
      await this.#stepper.breathe(signal);
      this.#end.throwIfAborted();
    }
    const ids = step.value;
    return ids.length > 1 && ids[0] === ids[1] && ids[0] === this.#tokenizer.bos ? ids.slice(1) : ids;
  }

  /**
   * Tokens of a text that stands behind other text: without the dummy space of a beginning. Empty where they cannot be told from
   * what stands before.
   */
  encodeInside(text: string): number[] {
    this.#tokenizer ??= new Tokenizer(this.#data);
    const tokenizer = this.#tokenizer;
    const plain = { bos: false, eos: false, special: false };
    const ids = tokenizer.encode(`\n${text}`, plain);
    // The line end is a token of its own, maybe behind the dummy space's.
    for (let i = 1; i <= Math.min(2, ids.length); i++) if (tokenizer.decode(ids.slice(0, i)) === "\n") return ids.slice(i);
    return [];
  }

  /** Tokens that end reasoning. */
  get endOfReasoning(): readonly number[] {
    this.#tokenizer ??= new Tokenizer(this.#data);
    const id = this.#tokenizer.id("</think>");
    return id === undefined ? this.encodeInside("</think>") : [id];
  }
}

/** Throws "bad-input" and "context-overflow" for tokens that cannot follow those of a sequence. */
export function checkTokens(tokens: readonly number[], vocab: number, sequence: Pick<Sequence, "contextSize" | "tokens">): void {
  if (tokens.length === 0)
    throw new CpmError(
      "bad-input",
      "no tokens to run: the prompt is empty and this model adds no BOS token; give at least one token",
    );
  const bad = tokens.findIndex((t) => !Number.isSafeInteger(t) || t < 0 || t >= vocab);
  if (bad >= 0)
    throw new CpmError("bad-input", `token ${tokens[bad]} at index ${bad} is outside the vocabulary (0 to ${vocab - 1})`);
  const total = sequence.tokens.length + tokens.length;
  if (total > sequence.contextSize)
    throw new CpmError(
      "context-overflow",
      `${total} tokens do not fit the context of ${sequence.contextSize}; shorten the input, truncate the session, or load with contextSize ${total} or more`,
    );
}
