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
  /** What happens when the context is full: an end, or the oldest text is forgotten. Where the home can. */
  whenFull: "stop" | "slide";
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
  /** Milliseconds until the first token, where the home tells. */
  readonly prefillMs?: number;
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
  /** A larger context that the model could be loaded with, and the bytes that it would take beside. */
  readonly larger?: { readonly contextSize: number; readonly bytes: number };
  /** Bytes of memory in all. */
  readonly memoryBytes?: number;
}

/** A model that a page offers: what its configuration says of it, in bytes. */
export interface Offer {
  readonly name: string;
  readonly title: string;
  readonly totalBytes: number | undefined;
  readonly memoryBytes: number | undefined;
  readonly licence?: string;
}

/** A model in place of one that is listed: a file of the user's, an address, or files by their names. */
export type Source = File | string | Readonly<Record<string, Blob>>;

export interface LoadWishes {
  /** Tokens; undefined: as the runtime says. */
  readonly contextSize?: number | undefined;
  /** Take the engine from the tab that has it. */
  readonly take?: boolean | undefined;
}

export interface LoadState {
  readonly phase: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

/** A failure in words that say what to do; `detail`: the message behind it. */
export class Trouble extends Error {
  readonly detail: string;
  /** What can be done about some of them. */
  readonly kind: "overflow" | "ended" | "elsewhere" | "away" | undefined;
  constructor(words: string, detail: string, kind?: Trouble["kind"]) {
    super(words);
    this.detail = detail;
    this.kind = kind;
  }
}

export interface Backend {
  readonly home: "serve" | "page";
  /** Models to choose from, by name. */
  models(): Promise<readonly string[]>;
  /** Makes a model ready. `onLost` is called when it is gone by itself: taken by another tab. */
  load(
    name: string,
    source: Source | undefined,
    wishes: LoadWishes,
    onState: (state: LoadState) => void,
    onLost: () => void,
    signal: AbortSignal,
  ): Promise<Info>;
  chat(
    turns: readonly Turn[],
    sampling: Sampling,
    onPiece: (piece: Piece) => void,
    onReading: Reading,
    signal: AbortSignal,
  ): Promise<Ended>;
}
