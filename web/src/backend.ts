// What the page asks of whatever runs the model: a server, or the runtime in this page. Nothing else knows which one it is.

export interface Turn {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface Sampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  /** undefined: drawn at random. */
  seed: number | undefined;
  /** undefined: until the model stops. */
  maxTokens: number | undefined;
  thinking: "model" | "on" | "off";
}

export interface Piece {
  readonly type: "text" | "reasoning";
  readonly text: string;
}

export interface Ended {
  readonly finishReason: "stop" | "length" | "context";
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly tokensPerSecond: number;
}

/** Prompt tokens read so far, of how many. */
export type Reading = (done: number, total: number) => void;

export interface Info {
  readonly model: string;
  /** Tokens; undefined where the home does not tell. */
  readonly contextSize: number | undefined;
  /** Threads, kernel, memory: one line. */
  readonly detail: string;
  /** Why there is one thread, where that is so. */
  readonly note: string | undefined;
}

export interface LoadState {
  readonly phase: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

/** A failure in words that say what to do; `detail`: the message behind it. */
export class Trouble extends Error {
  readonly detail: string;
  constructor(words: string, detail: string) {
    super(words);
    this.detail = detail;
  }
}

export interface Backend {
  readonly home: "serve" | "page";
  /** Models to choose from, by name. */
  models(): Promise<readonly string[]>;
  /** Makes a model ready. `source`: a file of the user's, or an address, in place of a name. */
  load(name: string, source: File | string | undefined, onState: (state: LoadState) => void, signal: AbortSignal): Promise<Info>;
  chat(
    turns: readonly Turn[],
    sampling: Sampling,
    onPiece: (piece: Piece) => void,
    onReading: Reading,
    signal: AbortSignal,
  ): Promise<Ended>;
}
