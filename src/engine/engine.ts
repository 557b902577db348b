// The engine: a loaded model and its sessions, in the thread that computes.
import { CpmError, typed } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { Stop } from "../signals.ts";
import type { EngineHost } from "../wasm/host.ts";
import type { AdapterUse } from "./adapters.ts";
import { assemble, type EngineHooks, type Parts } from "./assemble.ts";
import { causalRows } from "./forward.ts";
import { profileSequence } from "./profile.ts";
import { checkTokens, Prompts } from "./prompts.ts";
import { Requests } from "./requests.ts";
import { cutTo, type Sequence } from "./sequences.ts";
import { BlockRecorder } from "./trace.ts";
import { Turns } from "./turns.ts";
import type {
  BlockTrace,
  EmbedOptions,
  EngineApi,
  EngineInfo,
  EngineOptions,
  GenerateHooks,
  GenerateRequest,
  GenerateResult,
  Profile,
  States,
} from "./types.ts";

export type { EngineHooks };

/** What becomes of a call's rows of logits or states, and of the blocks that its rows choose. */
interface Taking {
  take(rows: Float32Array): void;
  readonly recorder?: BlockRecorder | undefined;
}

function checkTaps(taps: readonly number[], layers: number): void {
  const wrong = taps.find((layer) => !Number.isSafeInteger(layer) || layer < 1 || layer >= layers);
  if (wrong === undefined && taps.length <= 8) return;
  throw new CpmError("bad-option", `layers: expected at most 8 numbers from 1 to ${layers - 1}, found ${wrong ?? taps.length}`, {
    field: "layers",
    expected: `at most 8 numbers from 1 to ${layers - 1}`,
    found: `${wrong ?? taps.length}`,
  });
}

export class Engine implements EngineApi {
  readonly #parts: Parts;
  readonly #turns: Turns;
  readonly #requests: Requests;

  private constructor(parts: Parts, options: EngineOptions) {
    this.#parts = parts;
    this.#turns = new Turns(parts.host.requestBound === true);
    const prompts = new Prompts(parts.info.tokenizer, parts.stepper, this.#turns.end);
    this.#requests = new Requests(parts, options, this.#turns, prompts);
  }

  /** Reads, plans and packs a model, what drafts for it out of `draftFiles`, an adapter out of each of `loraFiles`, and a model that drafts for what drafts out of `frontFiles`. Throws CpmError "bad-model", "unsupported", "out-of-memory", "io"; rejects with the signal's reason. */
  static async load(
    host: EngineHost,
    files: ModelFiles,
    options: EngineOptions,
    hooks: EngineHooks = {},
    draftFiles?: ModelFiles,
    loraFiles: readonly ModelFiles[] = [],
    frontFiles?: ModelFiles,
  ): Promise<Engine> {
    try {
      return new Engine(await assemble(host, files, options, hooks, draftFiles, loraFiles, frontFiles), options);
    } catch (error) {
      throw typed(error);
    } finally {
      for (const opened of [files, draftFiles, ...loraFiles, frontFiles]) await opened?.close();
    }
  }

  get info(): EngineInfo {
    return this.#parts.info;
  }

  /** Linear memory in all, now: info.memory.total at first, more when further sessions needed it. */
  get memoryBytes(): number {
    return this.#parts.arena.memory.buffer.byteLength;
  }

  open(contextSize = this.info.contextSize, lora?: readonly AdapterUse[]): Promise<number> {
    return this.#turns.inTurn(() => {
      if (!Number.isSafeInteger(contextSize) || contextSize < 1 || contextSize > 1 << 24)
        throw new CpmError(
          "bad-option",
          `contextSize: expected a whole number of tokens from 1 to 16777216, found ${contextSize}`,
          { field: "contextSize" },
        );
      const most = this.info.contextSize;
      if (contextSize > most)
        throw new CpmError(
          "bad-option",
          `contextSize: this model was loaded for ${most} tokens, a session of ${contextSize} does not fit; load with a larger contextSize`,
          { field: "contextSize" },
        );
      return this.#parts.sequences.open(contextSize, this.#parts.adapters.set(lora));
    });
  }

  forward(
    session: number,
    tokens: readonly number[],
    logits: "none" | "last" | "all" | States,
    outer?: AbortSignal,
  ): Promise<Float32Array> {
    return this.#turns.inSession(
      session,
      async () => {
        let out: Float32Array = new Float32Array();
        let filled = 0;
        const take = (rows: Float32Array) => {
          out.set(rows, filled);
          filled += rows.length;
        };
        await this.#append(session, tokens, logits, outer, () => {
          const { vocab, hidden, layers } = this.info.config;
          if (typeof logits === "object") checkTaps(logits.states, layers);
          const width = typeof logits === "object" ? hidden * (logits.states.length + 1) : vocab;
          out = logitsArray(logits === "none" ? 0 : logits === "last" ? width : width * tokens.length);
          return { take };
        });
        return out;
      },
      outer,
    );
  }

  trace(session: number, tokens: readonly number[], every: number, outer?: AbortSignal): Promise<BlockTrace> {
    return this.#turns.inSession(
      session,
      async () => {
        const { config, sparse } = this.info;
        const shape = { layers: config.layers, kvHeads: config.kvHeads, blockSize: sparse?.blockSize ?? 64 };
        let recorder: BlockRecorder | undefined;
        await this.#append(session, tokens, "none", outer, (sequence) => {
          if (!Number.isSafeInteger(every) || every < 1)
            throw new CpmError("bad-option", `every: expected a whole number of tokens, found ${every}`, { field: "every" });
          recorder = new BlockRecorder(shape, sequence.tokens.length, tokens.length, every);
          return { take: () => {}, recorder };
        });
        return recorder!.trace;
      },
      outer,
    );
  }

  profile(session: number, steps: number, outer?: AbortSignal): Promise<Profile> {
    const work = (stop: Stop) => {
      if (!Number.isSafeInteger(steps) || steps < 1 || steps > 10000)
        throw new CpmError("bad-option", `steps: expected a whole number from 1 to 10000, found ${steps}`, { field: "steps" });
      const sequence = this.#parts.sequences.get(session);
      checkTokens([0], this.info.config.vocab, sequence);
      return profileSequence(this.#parts, sequence, steps, stop);
    };
    return this.#turns.turnOf(session, work, outer);
  }

  /**
   * Appends tokens in batches, each a turn of its own. `begin`, once the tokens are known to fit, says what takes the rows of logits
   * asked for, in order. All are appended, or none.
   */
  async #append(
    session: number,
    tokens: readonly number[],
    logits: "none" | "last" | "all" | States,
    outer: AbortSignal | undefined,
    begin: (sequence: Sequence) => Taking,
  ): Promise<void> {
    let call: { readonly sequence: Sequence; readonly before: number; readonly taking: Taking } | undefined;
    let done = 0;
    const batch = async (stop: Stop) => {
      if (!call) {
        const sequence = this.#parts.sequences.get(session);
        checkTokens(tokens, this.info.config.vocab, sequence);
        call = { sequence, before: sequence.tokens.length, taking: begin(sequence) };
      }
      const { sequence, before, taking } = call;
      // Dense or sparse is decided once, from the whole call: how it is cut into batches changes nothing.
      const total = before + tokens.length;
      const end = Math.min(tokens.length, done + this.#parts.stepper.batchRows(total));
      const some = tokens.slice(done, end);
      await this.#step(sequence, some, total, logits === "last" && end < tokens.length ? "none" : logits, taking, stop);
      sequence.tokens.push(...some);
      done = end;
    };
    try {
      do await this.#turns.inTurn(batch, outer);
      while (done < tokens.length);
    } catch (error) {
      if (call) cutTo(call.sequence, call.before);
      throw error;
    }
  }

  /** The rows of a batch through the model, and those of their logits and states that are wanted. */
  async #step(
    sequence: Sequence,
    batch: readonly number[],
    total: number,
    logits: "none" | "last" | "all" | States,
    { take, recorder }: Taking,
    stop: Stop,
  ): Promise<void> {
    const { stepper, arena } = this.#parts;
    const { vocab } = this.info.config;
    const taps = typeof logits === "object" ? logits.states : [];
    await stepper.layers(causalRows(sequence, batch, total), stop, recorder, taps);
    if (logits === "none") return;
    const wanted = logits === "last" ? [batch.length - 1] : batch.map((_, i) => i);
    if (typeof logits === "object") return stepper.states(wanted, take, taps.length);
    for (let i = 0; i < wanted.length; i += stepper.logitRows) {
      const picked = wanted.slice(i, i + stepper.logitRows);
      await stepper.head(picked, stop);
      take(new Float32Array(arena.memory.buffer, stepper.logits, picked.length * vocab));
    }
  }

  generate(session: number, request: GenerateRequest, hooks: GenerateHooks): Promise<GenerateResult> {
    return this.#requests.generate(session, request, hooks);
  }

  embed(
    texts: readonly (string | readonly number[])[],
    options: EmbedOptions,
    hooks: Pick<GenerateHooks, "signal" | "onBegin">,
  ): Promise<Float32Array> {
    return this.#requests.embed(texts, options, hooks);
  }

  tokens(session: number): Promise<Int32Array> {
    return this.#turns.turnOf(session, () => Int32Array.from(this.#parts.sequences.get(session).tokens));
  }

  truncate(session: number, length: number): Promise<void> {
    return this.#turns.turnOf(session, () => {
      const sequence = this.#parts.sequences.get(session);
      const { tokens } = sequence;
      if (!Number.isSafeInteger(length) || length < 0 || length > tokens.length)
        throw new CpmError("bad-option", `truncate: expected a length from 0 to ${tokens.length}, found ${length}`, {
          field: "length",
        });
      cutTo(sequence, length);
      this.#parts.drafting?.drafter.cut(sequence, length);
    });
  }

  copy(session: number): Promise<number> {
    return this.#turns.turnOf(session, () => this.#parts.sequences.copy(session));
  }

  save(session: number): Promise<Uint8Array> {
    return this.#turns.turnOf(session, () => this.#parts.sequences.save(session));
  }

  restore(bytes: Uint8Array): Promise<number> {
    return this.#turns.inTurn(() => this.#parts.sequences.restore(bytes));
  }

  closeSession(session: number): Promise<void> {
    return this.#turns.turnOf(session, () => {
      const { sequences, drafting } = this.#parts;
      const closed = sequences.close(session);
      if (closed) drafting?.drafter.close(closed);
    });
  }

  /** Ends what is being computed, then the lanes. The memory goes with the last reference to this engine. */
  async close(): Promise<void> {
    await this.#turns.close(new CpmError("closed", "this model is closed; load it again"));
    await this.#parts.endLanes();
  }
}

function logitsArray(length: number): Float32Array {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw new CpmError(
      "out-of-memory",
      `${length} logits do not fit into memory; ask for fewer tokens at a time, or for the last one's only`,
      { field: "logits" },
      { cause },
    );
  }
}
