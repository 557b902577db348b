// Thinking that a format marks in its own way, taken apart from the answer that follows it.

/** The end of `text` that may be the beginning of `mark`: where to cut before it. */
function cutBefore(text: string, mark: string): number {
  for (let at = Math.max(0, text.length - mark.length + 1); at < text.length; at++)
    if (mark.startsWith(text.slice(at))) return at;
  return text.length;
}

/** Reads a text that may begin with thinking between two markers. Without markers everything is the answer. */
export class Thoughts {
  readonly #open: string;
  readonly #close: string;
  #state: "start" | "inside" | "answer";
  #held = "";

  constructor(markers: readonly [open: string, close: string] | undefined) {
    [this.#open, this.#close] = markers ?? ["", ""];
    this.#state = markers ? "start" : "answer";
  }

  /** What `text` adds to either; `final`: nothing will follow, and nothing is held back. */
  push(text: string, final: boolean): { readonly thought: string; readonly answer: string } {
    if (this.#state === "answer") return { thought: "", answer: text };
    this.#held += text;
    if (this.#state === "start") {
      const begun = this.#held.trimStart();
      if (!final && begun.length < this.#open.length && this.#open.startsWith(begun)) return { thought: "", answer: "" };
      if (!begun.startsWith(this.#open)) return this.#ended("", this.#held);
      this.#held = begun.slice(this.#open.length).replace(/^\n/, "");
      this.#state = "inside";
    }
    const end = this.#held.indexOf(this.#close);
    if (end >= 0) {
      const behind = this.#held.slice(end + this.#close.length).replace(/^\n+/, "");
      return this.#ended(this.#held.slice(0, end).replace(/\n$/, ""), behind);
    }
    // A line break before the marker belongs to it.
    const cut = final
      ? this.#held.length
      : Math.min(cutBefore(this.#held, this.#close), cutBefore(this.#held, `\n${this.#close}`));
    const thought = this.#held.slice(0, cut);
    this.#held = this.#held.slice(cut);
    return { thought, answer: "" };
  }

  #ended(thought: string, answer: string): { thought: string; answer: string } {
    this.#state = "answer";
    this.#held = "";
    return { thought, answer };
  }
}
