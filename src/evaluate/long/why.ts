// Why an answer was missed: did attention read the blocks that the answer stands in?
import type { Model } from "../../door/model.ts";
import type { Session } from "../../door/session.ts";
import type { BlockTrace } from "../../engine/types.ts";
import type { Prompts } from "../tokens.ts";
import type { Fitted } from "./fit.ts";

/** What attention did with the blocks that an answer stands in, while the answer was written. */
export interface Miss {
  /** Blocks of the cache that hold it. */
  readonly blocks: readonly number[];
  /** Whether attention was sparse. */
  readonly sparse: boolean;
  /** At how many of the answer's positions each layer and KV head read all of those blocks. */
  readonly read: readonly { readonly layer: number; readonly kvHead: number; readonly positions: number; readonly of: number }[];
  /** The same in words. */
  readonly why: string;
}

/** Looks at the answer that `session` has just written to `text`; the session ends as it is. */
export async function whyMissed(
  model: Model,
  session: Session,
  prompts: Prompts,
  text: Fitted,
  signal: AbortSignal | undefined,
): Promise<Miss> {
  const tokens = await session.tokens();
  const first = text.tokens.length - 1;
  await session.truncate(first);
  const trace = await session.trace(tokens.subarray(first), { signal });
  const within = text.prompt.indexOf(text.text);
  const places = await Promise.all(
    text.spans.map(async ([from, to]) => [
      (await prompts.tokensOf(text.prompt.slice(0, within + from))).length,
      (await prompts.tokensOf(text.prompt.slice(0, within + to))).length,
    ]),
  );
  return readOf(trace, blocksOf(places as [number, number][], trace.blockSize), model.info.sparse !== undefined);
}

/** The blocks of tokens [from, to), ascending. */
function blocksOf(places: readonly (readonly [number, number])[], size: number): number[] {
  const found = new Set<number>();
  for (const [from, to] of places) for (let b = Math.floor(from / size); b <= Math.floor((to - 1) / size); b++) found.add(b);
  return [...found].sort((a, b) => a - b);
}

/** What a trace says of some blocks. */
export function readOf(trace: BlockTrace, blocks: readonly number[], mayBeSparse: boolean): Miss {
  const { layers, kvHeads, positions, chosen } = trace;
  const rowBytes = Math.ceil(trace.blocks / 8);
  const read: { layer: number; kvHead: number; positions: number; of: number }[] = [];
  let all = true;
  for (let layer = 0; layer < layers; layer++)
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      let count = 0;
      for (let i = 0; i < positions.length; i++) {
        const row = ((layer * kvHeads + kvHead) * positions.length + i) * rowBytes;
        if (blocks.every((b) => ((chosen[row + (b >> 3)]! >> (b & 7)) & 1) === 1)) count++;
      }
      all &&= count === positions.length;
      read.push({ layer, kvHead, positions: count, of: positions.length });
    }
  const named = `${blocks.length === 1 ? "block" : "blocks"} ${blocks.join(", ")}`;
  const were = blocks.length === 1 ? "was" : "were";
  const never = read.filter((one) => one.positions === 0);
  const seldom = read.filter((one) => one.positions > 0 && one.positions < one.of);
  const heads = (list: typeof read) => list.map(({ layer, kvHead }) => `layer ${layer} head ${kvHead}`).join(", ");
  const why = !mayBeSparse
    ? `attention is dense: ${named} ${were} read everywhere, and the model answered otherwise`
    : all
      ? `${named} ${were} read by every layer and head, and the model answered otherwise`
      : [
          never.length > 0 ? `${named} never read whole by ${heads(never)}` : "",
          seldom.length > 0 ? `${named} read at some positions only by ${heads(seldom)}` : "",
        ]
          .filter((part) => part !== "")
          .join("; ");
  return { blocks, sparse: mayBeSparse && !all, read, why };
}
