// Whose rows a step computes. A pure function of what is ready: the texts that wait, and what a step has room for.

/** A text that could use rows of the next step. */
export interface Ready {
  /** Prompt tokens still to compute; 0: its next token is decoded, in one row and those of its draft. */
  readonly left: number;
  /** Steps since it last had rows. */
  readonly waited: number;
  /** Whether the last token of its prompt takes a row of logits. */
  readonly logits: boolean;
}

/** What a step has room for. */
export interface Room {
  /** Rows in all, and rows with logits. */
  readonly rows: number;
  readonly logits: number;
  /** Texts that are decoded side by side: as many as give the most tokens a millisecond. */
  readonly decode: number;
  /** Rows of prompts, and beside texts that are decoded, which wait for them. */
  readonly prompts: number;
  readonly chunk: number;
}

/** Indices of what was ready. */
export interface Turn {
  readonly decode: readonly number[];
  /** One chunk: parts of prompts, of which at most the last one is left unfinished. */
  readonly prefill: readonly { readonly index: number; readonly rows: number }[];
  /** Rows that may go to drafts of the decoded texts. */
  readonly drafts: number;
}

/** Steps that a prompt may be passed over by shorter ones, or by texts that are decoded where a step has no room for both. */
export const PATIENCE = 8;

/**
 * Decode rows first, of those that waited longest; then one chunk of prompts, the shortest remainder first, so that short
 * prompts do not wait for long ones; a prompt that was passed over PATIENCE times goes first, and finds a row unless a text has
 * waited as long.
 */
export function schedule(ready: readonly Ready[], room: Room): Turn {
  const all = ready.map((_, index) => index);
  const waited = (a: number, b: number) => ready[b]!.waited - ready[a]!.waited || a - b;
  const overdue = (index: number) => (ready[index]!.waited >= PATIENCE ? ready[index]!.waited : 0);
  const prompts = all
    .filter((index) => ready[index]!.left > 0)
    .sort((a, b) => overdue(b) - overdue(a) || ready[a]!.left - ready[b]!.left || a - b);
  const texts = all.filter((index) => ready[index]!.left === 0).sort(waited);
  const longest = texts.length > 0 ? ready[texts[0]!]!.waited : 0;
  const kept = prompts.length > 0 && overdue(prompts[0]!) > longest ? 1 : 0;
  const decode = texts.slice(0, Math.max(0, Math.min(room.decode, room.rows - kept, room.logits - kept)));
  let logits = room.logits - decode.length;
  let rows = Math.min(room.rows - decode.length, decode.length > 0 ? room.chunk : room.prompts);
  const prefill: { index: number; rows: number }[] = [];
  for (const index of prompts) {
    const { left, logits: wants } = ready[index]!;
    const ends = wants && left <= rows;
    // A last token whose logits find no row waits for the next step.
    const taken = ends && logits === 0 ? left - 1 : Math.min(left, rows);
    if (taken < 1) continue;
    prefill.push({ index, rows: taken });
    rows -= taken;
    if (ends && taken === left) logits--;
    if (taken < left) break;
  }
  const used = decode.length + prefill.reduce((sum, part) => sum + part.rows, 0);
  return { decode, prefill, drafts: decode.length > 0 ? Math.max(0, Math.min(logits, room.rows - used)) : 0 };
}
