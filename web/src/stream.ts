// An answer as it comes: finished blocks are made once and stay; only the last one is made again, once a frame at most.
import { block, blocksOf, codeBlock } from "./markdown.ts";

/** White space and an opening fence with its language. */
const FENCE = /^( {0,3})(`{3,}|~{3,})([^`\n]*)\n/;

export class StreamView {
  readonly #host: HTMLElement;
  #text = "";
  /** Source of the blocks that are finished. */
  #done = 0;
  #live: Node[] = [];
  /** An open fence: its text node, and how much of the source is in it. */
  #fence: { readonly code: Text; readonly from: number } | undefined;
  #frame = 0;

  constructor(host: HTMLElement) {
    this.#host = host;
  }

  append(piece: string): void {
    const first = this.#text === "";
    this.#text += piece;
    if (first) this.#draw();
    else if (this.#frame === 0)
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#draw();
      });
  }

  /** Writes nothing more: the whole is shown by someone else. */
  dispose(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  #draw(): void {
    const rest = this.#text.slice(this.#done);
    if (this.#fence) {
      const source = rest.slice(this.#fence.from);
      const closed = /\n {0,3}(`{3,}|~{3,})[ \t]*(\n|$)/.test(`\n${source}`);
      if (!closed) {
        if (source.length > this.#fence.code.length) this.#fence.code.appendData(source.slice(this.#fence.code.length));
        return;
      }
      this.#fence = undefined;
    }
    const tokens = blocksOf(rest);
    for (const node of this.#live) node.parentNode?.removeChild(node);
    this.#live = [];
    for (const [i, token] of tokens.entries()) {
      if (i < tokens.length - 1) {
        this.#host.append(block(token));
        this.#done += token.raw.length;
        continue;
      }
      const open = token.type === "code" && FENCE.exec(token.raw);
      if (open && !new RegExp(`\\n {0,3}${open[2]}[ \\t]*\\n?$`).test(token.raw)) {
        const { block: node, code } = codeBlock(open[3]!.trim(), token.raw.slice(open[0].length));
        this.#fence = { code, from: open[0].length };
        this.#live = [node];
      } else {
        const made = block(token);
        this.#live = made instanceof DocumentFragment ? [...made.childNodes] : [made];
      }
      this.#host.append(...this.#live);
    }
  }
}
