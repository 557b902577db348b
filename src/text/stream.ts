// Tokens -> text as they come: whole characters only, stop strings cut, reasoning split from the answer.
import { Detokenizer } from "./pieces.ts";
import type { PieceTable } from "./vocabulary.ts";

/** A piece of text and the tokens that completed it. Every token belongs to exactly one piece. */
export interface GeneratedPiece {
  readonly type: "text" | "reasoning";
  readonly text: string;
  readonly tokens: readonly number[];
}

export interface StreamOptions {
  /** Texts that end the answer; neither they nor what follows is emitted. Reasoning is not searched. Empty and ill-formed ones never match. */
  readonly stop: readonly string[];
  /** "split": a leading `<think>…</think>` is reasoning; "open": the text begins inside it; "none": tags are text. */
  readonly thinking: "none" | "split" | "open";
  /** Write special tokens by name. */
  readonly special: boolean;
  /** The tokens that are continued: after text a leading space stays, after a special token it is the dummy space. Default: text. */
  readonly prompt?: readonly number[] | undefined;
}

const OPEN = "<think>";
const CLOSE = "</think>";
/** More white space than this before an opening tag makes it text: it cannot be held back for ever. */
const MOST_BLANKS = 64;
/** Enough to know whether a dummy space is due and which bytes of an incomplete character came before. */
const PROMPT_TAIL = 16;

/**
 * Streaming detokenisation of a continuation: all texts together are what decoding prompt and tokens gives beyond the
 * prompt's own whole characters, less stop strings and tags. Work per token does not grow with the length of the output.
 */
export class TextStream {
  readonly #tokens: Detokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  readonly #stop: readonly string[];
  /** "start": only white space so far, a tag may follow; "trim": line breaks after a closing tag are dropped. */
  #state: "start" | "reasoning-start" | "reasoning" | "trim" | "answer";
  /** Text that is not emitted yet, and how much text came before it. */
  #held = "";
  #at = 0;
  /** Tokens that belong to no piece yet, with the end of their text. */
  #waiting: { readonly token: number; readonly end: number }[] = [];
  #stopped: string | undefined;

  constructor(table: PieceTable, { stop, thinking, special, prompt }: StreamOptions) {
    this.#tokens = new Detokenizer(table, special, prompt !== undefined && prompt.length <= PROMPT_TAIL);
    for (const token of prompt?.slice(-PROMPT_TAIL) ?? []) this.#decoder.decode(this.#tokens.bytes(token), { stream: true });
    this.#stop = stop.filter((text) => text !== "" && !/\p{Surrogate}/u.test(text));
    this.#state = thinking === "none" ? "answer" : thinking === "open" ? "reasoning-start" : "start";
  }

  /** The stop string that was completed, when one was. */
  get stopped(): string | undefined {
    return this.#stopped;
  }

  /** A leading space of the next token with text will be left out. */
  get dropsSpace(): boolean {
    return this.#tokens.dropsSpace;
  }

  /** What comes now is reasoning. */
  get inReasoning(): boolean {
    return this.#kind() === "reasoning";
  }

  /** Pieces that `token` completed: none, one, or one on each side of a tag. */
  push(token: number): GeneratedPiece[] {
    this.#held += this.#decoder.decode(this.#tokens.bytes(token), { stream: true });
    this.#waiting.push({ token, end: this.#at + this.#held.length });
    return this.#drain(false);
  }

  /** What is still held back: an incomplete character (as U+FFFD), the beginning of a tag or stop string, tokens without text. */
  finish(): GeneratedPiece[] {
    this.#held += this.#decoder.decode();
    const pieces = this.#stopped === undefined ? this.#drain(true) : [];
    const tokens = this.#waiting.splice(0).map((w) => w.token);
    if (tokens.length > 0) pieces.push({ type: this.#kind(), text: "", tokens });
    return pieces;
  }

  #kind(): GeneratedPiece["type"] {
    return this.#state === "reasoning" || this.#state === "reasoning-start" ? "reasoning" : "text";
  }

  #drain(last: boolean): GeneratedPiece[] {
    const pieces: GeneratedPiece[] = [];
    while (this.#stopped === undefined && this.#step(pieces, last));
    return pieces;
  }

  /** One change of state, or as much text as is certain. False when there is nothing more to do. */
  #step(pieces: GeneratedPiece[], last: boolean): boolean {
    switch (this.#state) {
      case "start":
        return this.#start(last);
      case "reasoning-start":
      case "trim": {
        this.#drop(/^[\r\n]*/.exec(this.#held)![0].length);
        if (this.#held === "") return false;
        this.#state = this.#state === "trim" ? "answer" : "reasoning";
        return true;
      }
      case "reasoning": {
        const end = this.#held.indexOf(CLOSE);
        if (end < 0) {
          this.#emit(pieces, this.#held.length - (last ? 0 : overlap(this.#held, [CLOSE])));
          return false;
        }
        this.#emit(pieces, end);
        this.#drop(CLOSE.length);
        this.#state = "trim";
        return true;
      }
      default:
        return this.#answer(pieces, last);
    }
  }

  /** White space, then perhaps an opening tag: white space goes with the tag, or is the beginning of the answer. */
  #start(last: boolean): boolean {
    const text = this.#held.trimStart();
    const blanks = this.#held.length - text.length;
    const opens = blanks <= MOST_BLANKS && text.startsWith(OPEN);
    if (!last && !opens && blanks <= MOST_BLANKS && OPEN.startsWith(text)) return false;
    if (opens) this.#drop(blanks + OPEN.length);
    this.#state = opens ? "reasoning-start" : "answer";
    return true;
  }

  /** The stop string that is complete first ends the answer, the longest of those: the same however tokens cut the text. */
  #answer(pieces: GeneratedPiece[], last: boolean): boolean {
    let found: { readonly text: string; readonly at: number } | undefined;
    for (const text of this.#stop) {
      const at = this.#held.indexOf(text);
      if (at < 0) continue;
      const sooner = found ? at + text.length - (found.at + found.text.length) : -1;
      if (sooner < 0 || (sooner === 0 && at < found!.at)) found = { text, at };
    }
    this.#stopped = found?.text;
    this.#emit(pieces, found?.at ?? this.#held.length - (last ? 0 : overlap(this.#held, this.#stop)));
    return false;
  }

  #drop(length: number): void {
    this.#held = this.#held.slice(length);
    this.#at += length;
  }

  #emit(pieces: GeneratedPiece[], length: number): void {
    if (length === 0) return;
    const text = this.#held.slice(0, length);
    this.#drop(length);
    const count = this.#waiting.findIndex((w) => w.end > this.#at);
    const tokens = this.#waiting.splice(0, count < 0 ? this.#waiting.length : count);
    pieces.push({ type: this.#kind(), text, tokens: tokens.map((w) => w.token) });
  }
}

/** Length of the longest end of `text` that begins one of `marks` without completing it. */
function overlap(text: string, marks: readonly string[]): number {
  let longest = 0;
  for (const mark of marks)
    for (let n = Math.min(mark.length - 1, text.length); n > longest; n--) if (text.endsWith(mark.slice(0, n))) longest = n;
  return longest;
}
