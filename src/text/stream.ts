// Tokens -> text as they come: whole characters only, stop strings cut, reasoning split from the answer.
import { type ThinkingMarks, thinkMarks } from "./marks.ts";
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
  /** What stands around reasoning instead of `<think>`. */
  readonly marks?: ThinkingMarks | undefined;
  /** Write special tokens by name. */
  readonly special: boolean;
  /** The tokens that are continued: after text a leading space stays, after a special token it is the dummy space. Default: text. */
  readonly prompt?: readonly number[] | undefined;
}

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
  readonly #marks: ThinkingMarks;
  /** What ends the answer's own tags, once they were opened. */
  #wrapped: string | undefined;
  /** "start": only white space so far, a tag may follow; "trim": line breaks after a closing tag are dropped. */
  #state: "start" | "reasoning-start" | "reasoning" | "trim" | "answer";
  /** Text that is not emitted yet, and how much text came before it. */
  #held = "";
  #at = 0;
  /** Tokens that belong to no piece yet, with the end of their text. */
  #waiting: { readonly token: number; readonly end: number }[] = [];
  #stopped: string | undefined;

  constructor(table: PieceTable, { stop, thinking, marks = thinkMarks, special, prompt }: StreamOptions) {
    this.#tokens = new Detokenizer(table, special, prompt !== undefined && prompt.length <= PROMPT_TAIL);
    for (const token of prompt?.slice(-PROMPT_TAIL) ?? []) this.#decoder.decode(this.#tokens.bytes(token), { stream: true });
    this.#stop = stop.filter((text) => text !== "" && !/\p{Surrogate}/u.test(text));
    this.#marks = marks;
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
        // Behind a phrase a blank may follow; behind a tag, blanks are text.
        this.#drop((this.#marks.open.endsWith(":") ? /^[ \r\n]*/ : /^[\r\n]*/).exec(this.#held)![0].length);
        if (this.#held === "") return false;
        if (this.#state === "trim" && this.#unwrap(last) === "wait") return false;
        this.#state = this.#state === "trim" ? "answer" : "reasoning";
        return true;
      }
      case "reasoning": {
        const { close } = this.#marks;
        const end = this.#held.indexOf(close);
        if (end < 0) {
          this.#emit(pieces, this.#held.length - (last ? 0 : overlap(this.#held, [close])));
          return false;
        }
        this.#emit(pieces, end);
        this.#drop(close.length);
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
    const { open } = this.#marks;
    const opens = blanks <= MOST_BLANKS && text.startsWith(open);
    if (!last && !opens && blanks <= MOST_BLANKS && open.startsWith(text)) return false;
    if (opens) this.#drop(blanks + open.length);
    this.#state = opens ? "reasoning-start" : "answer";
    return true;
  }

  /** Drops the tag that opens an answer, where the model writes one. "wait": it may yet come. */
  #unwrap(last: boolean): "wait" | "done" {
    const [open = "", close] = this.#marks.answer ?? [];
    if (close === undefined || this.#wrapped !== undefined) return "done";
    if (this.#held.startsWith(open)) {
      this.#drop(open.length);
      this.#drop(/^[\r\n]*/.exec(this.#held)![0].length);
      this.#wrapped = close;
      return this.#held === "" ? "wait" : "done";
    }
    return !last && open.startsWith(this.#held) ? "wait" : "done";
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
    const closing = this.#wrapped === undefined ? -1 : this.#held.indexOf(this.#wrapped);
    if (closing >= 0 && (found === undefined || closing < found.at)) {
      this.#emit(pieces, closing);
      this.#drop(this.#wrapped!.length);
      this.#wrapped = undefined;
      return true;
    }
    this.#stopped = found?.text;
    const awaited = this.#wrapped === undefined ? this.#stop : [...this.#stop, this.#wrapped];
    this.#emit(pieces, found?.at ?? this.#held.length - (last ? 0 : overlap(this.#held, awaited)));
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
