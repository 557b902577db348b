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
  /** Texts that end the answer; neither they nor what follows is emitted. Reasoning is not searched. */
  readonly stop: readonly string[];
  /** "split": a leading `<think>…</think>` is reasoning; "open": the text begins inside it; "none": tags are text. */
  readonly thinking: "none" | "split" | "open";
  /** Write special tokens by name. */
  readonly special: boolean;
}

const OPEN = "<think>";
const CLOSE = "</think>";

/** Streaming detokenisation of a continuation (the first token keeps its leading space). */
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

  constructor(table: PieceTable, { stop, thinking, special }: StreamOptions) {
    this.#tokens = new Detokenizer(table, special, false);
    this.#stop = stop;
    this.#state = thinking === "none" ? "answer" : thinking === "open" ? "reasoning-start" : "start";
  }

  /** The stop string that was completed, when one was. */
  get stopped(): string | undefined {
    return this.#stopped;
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
    if (this.#waiting.length > 0) pieces.push({ type: this.#kind(), text: "", tokens: this.#waiting.splice(0).map((w) => w.token) });
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
        const text = this.#held.length;
        this.#drop(text - this.#held.replace(/^[\r\n]+/, "").length);
        if (this.#held === "") return false;
        this.#state = this.#state === "trim" ? "answer" : "reasoning";
        return true;
      }
      case "reasoning": {
        const end = this.#held.indexOf(CLOSE);
        if (end < 0) {
          this.#emit(pieces, last ? this.#held.length : this.#held.length - overlap(this.#held, [CLOSE]));
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
    if (text.startsWith(OPEN)) {
      this.#drop(this.#held.length - text.length + OPEN.length);
      this.#state = "reasoning-start";
      return true;
    }
    if (!last && OPEN.startsWith(text)) return false;
    this.#state = "answer";
    return true;
  }

  #answer(pieces: GeneratedPiece[], last: boolean): boolean {
    let found: { readonly text: string; readonly at: number } | undefined;
    for (const text of this.#stop) {
      const at = this.#held.indexOf(text);
      if (at >= 0 && (!found || at < found.at)) found = { text, at };
    }
    if (found) {
      this.#emit(pieces, found.at);
      this.#stopped = found.text;
    } else this.#emit(pieces, last ? this.#held.length : this.#held.length - overlap(this.#held, this.#stop));
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
    for (let n = Math.min(mark.length - 1, text.length); n > longest; n--)
      if (text.endsWith(mark.slice(0, n))) longest = n;
  return longest;
}
