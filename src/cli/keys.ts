// What a terminal sends, before the line editor sees it: pasted text is one piece, and what is typed during an answer waits.

import { Transform, type TransformCallback } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import type { ReadStream } from "node:tty";

/** Asks the terminal to mark pasted text (bracketed paste), and not to any more. */
export const MARK_PASTES = "\u001b[?2004h";
export const NO_MARKS = "\u001b[?2004l";
const BEGIN = "\u001b[200~";
const END = "\u001b[201~";

/** A line break inside a message, as the editor shows it: one column wide, so that the cursor stays where it belongs. */
const BREAK = "\u2424";
/** What stands for a sign like that in pasted text meanwhile. */
const OWN_BREAK = "\uf8fe";
const CTRL_C = "\u0003";

/** A line of the editor as the text it stands for. */
export const textOfLine = (line: string): string => line.replaceAll(BREAK, "\n").replaceAll(OWN_BREAK, BREAK);

/** Pasted text as the editor takes it: no keys in it, tabs as spaces, line breaks as signs. A last one is left out. */
const pasted = (text: string): string =>
  text
    .replaceAll(BREAK, OWN_BREAK)
    .replace(/\r\n?/g, "\n")
    .replace(/\n$/, "")
    .replaceAll("\n", BREAK)
    .replaceAll("\t", "    ")
    .replace(/[\u0000-\u001f\u007f-\u009f]/g, "");

/**
 * Stands between a terminal and a line editor. After a line's end it keeps what follows until `open()`: what is typed ahead is neither
 * echoed into an answer nor lost. Ctrl-C while it is closed calls `onInterrupt` and drops what was typed. Alt-Enter is a line break.
 */
export class Keys extends Transform {
  readonly isTTY = true;
  readonly #terminal: Pick<ReadStream, "setRawMode">;
  readonly #decoder = new StringDecoder("utf8");
  readonly #onInterrupt: () => void;
  #held = "";
  #open = false;
  #paste: string | undefined;

  constructor(terminal: Pick<ReadStream, "setRawMode">, onInterrupt: () => void) {
    super({ decodeStrings: false, encoding: "utf8" });
    this.#terminal = terminal;
    this.#onInterrupt = onInterrupt;
  }

  setRawMode(on: boolean): this {
    this.#terminal.setRawMode(on);
    return this;
  }

  /** Lets the next line through. */
  open(): void {
    this.#open = true;
    this.#pass();
  }

  /** Forgets what was typed and not let through. */
  forget(): void {
    this.#held = "";
  }

  override _transform(chunk: Uint8Array | string, _: BufferEncoding, done: TransformCallback): void {
    let text = typeof chunk === "string" ? chunk : this.#decoder.write(Buffer.from(chunk));
    if (!this.#open && this.#paste === undefined && text.includes(CTRL_C)) {
      this.#held = "";
      text = text.slice(text.lastIndexOf(CTRL_C) + 1);
      this.#onInterrupt();
    }
    this.#held += text;
    this.#pass();
    done();
  }

  override _flush(done: TransformCallback): void {
    this.#open = true;
    this.#pass();
    done();
  }

  #pass(): void {
    while (this.#open && this.#held !== "") {
      if (this.#paste !== undefined) {
        const end = this.#held.indexOf(END);
        if (end < 0) {
          // The mark may be cut in two: its beginning waits.
          const cut = this.#held.length - partial(this.#held, END);
          this.#paste += this.#held.slice(0, cut);
          this.#held = this.#held.slice(cut);
          return;
        }
        this.push(pasted(this.#paste + this.#held.slice(0, end)));
        this.#held = this.#held.slice(end + END.length);
        this.#paste = undefined;
        continue;
      }
      const stop = this.#held.search(/\r|\n|\u001b\[200~|\u001b[\r\n]/);
      if (stop < 0) {
        const cut = this.#held.length - partial(this.#held, BEGIN);
        if (cut > 0) this.push(this.#held.slice(0, cut));
        this.#held = this.#held.slice(cut);
        return;
      }
      if (stop > 0) this.push(this.#held.slice(0, stop));
      this.#held = this.#held.slice(stop);
      if (this.#held.startsWith(BEGIN)) {
        this.#paste = "";
        this.#held = this.#held.slice(BEGIN.length);
      } else if (this.#held.startsWith("\u001b")) {
        this.push(BREAK);
        this.#held = this.#held.slice(2);
      } else {
        const end = this.#held.startsWith("\r\n") ? 2 : 1;
        this.#held = this.#held.slice(end);
        this.#open = false;
        this.push("\r");
      }
    }
  }
}

/** How many characters at the end of `text` begin `mark`. A lone escape is a key of its own once another follows. */
function partial(text: string, mark: string): number {
  for (let length = Math.min(text.length, mark.length - 1); length > 0; length--)
    if (text.endsWith(mark.slice(0, length))) return length;
  return 0;
}
