// Shards: every N-th record of the input, in files with the shard's number in their names.
import { type Parsed, UsageError } from "./args.ts";

export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** --shard I/N; without it the one shard there is. */
export function shardOf(args: Parsed): Shard {
  const text = args.text("shard");
  if (text === undefined) return { index: 0, count: 1 };
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text)?.map(Number) ?? [];
  if (index === undefined || count === undefined || count < 1 || index >= count)
    throw new UsageError(`--shard: expected I/N with I below N, found "${text}"`);
  return { index, count };
}

/** "-00003-of-00016", nothing where there is one shard. */
export const suffixOf = ({ index, count }: Shard): string =>
  count > 1 ? `-${String(index).padStart(5, "0")}-of-${String(count).padStart(5, "0")}` : "";
