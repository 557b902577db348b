// Reading ahead over a network: what will be read is known, so several requests are under way while one answer is used.

export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** One request: at most so many bytes. */
const CHUNK_BYTES = 4 * 1024 * 1024;
/** Requests under way, and bytes asked for and not read yet: browsers keep six connections to a host. */
const MOST_REQUESTS = 6;
const MOST_BYTES = 16 * 1024 * 1024;

interface Chunk extends Range {
  bytes: Promise<Uint8Array> | undefined;
}

/** Requests for `ranges`, in order: neighbours in one, long ones in several. */
export function chunksOf(ranges: readonly Range[]): Range[] {
  const chunks: { offset: number; length: number }[] = [];
  for (const { offset, length } of ranges)
    for (let at = offset; at < offset + length; ) {
      const last = chunks.at(-1);
      const follows = last !== undefined && last.offset + last.length === at && last.length < CHUNK_BYTES;
      const some = Math.min(offset + length - at, CHUNK_BYTES - (follows ? last.length : 0));
      if (follows) last.length += some;
      else chunks.push({ offset: at, length: some });
      at += some;
    }
  return chunks;
}

/** Fetches `ranges` ahead of reads that follow their order. */
export class ReadAhead {
  readonly #fetch: (offset: number, length: number) => Promise<Uint8Array>;
  /** Those that are still to be read, the next one first. */
  readonly #chunks: Chunk[];

  constructor(fetch: (offset: number, length: number) => Promise<Uint8Array>, ranges: readonly Range[]) {
    this.#fetch = fetch;
    this.#chunks = chunksOf(ranges).map((chunk) => ({ ...chunk, bytes: undefined }));
    this.#ask();
  }

  /** Bytes [offset, offset + length), or undefined when that is not what comes next. Rejects as the request does. */
  async read(offset: number, length: number): Promise<Uint8Array | undefined> {
    const first = this.#chunks.findIndex((chunk) => offset >= chunk.offset && offset < chunk.offset + chunk.length);
    let stop = first;
    let end = offset;
    for (; stop >= 0 && end < offset + length; stop++) {
      const chunk = this.#chunks[stop];
      if (!chunk || (stop > first && chunk.offset !== end)) return undefined;
      end = chunk.offset + chunk.length;
    }
    if (first < 0) return undefined;
    // What comes before was not wanted after all.
    const parts = this.#chunks.slice(first, stop);
    this.#chunks.splice(0, end > offset + length ? stop - 1 : stop);
    this.#ask();
    const out = new Uint8Array(length);
    for (const chunk of parts) {
      chunk.bytes ??= this.#begin(chunk);
      const bytes = await chunk.bytes;
      const from = Math.max(offset, chunk.offset);
      const to = Math.min(offset + length, chunk.offset + chunk.length);
      out.set(bytes.subarray(from - chunk.offset, to - chunk.offset), from - offset);
    }
    return out;
  }

  /** Nothing more is asked for. */
  end(): void {
    this.#chunks.length = 0;
  }

  #ask(): void {
    let bytes = 0;
    for (const chunk of this.#chunks.slice(0, MOST_REQUESTS)) {
      bytes += chunk.length;
      if (bytes > MOST_BYTES) return;
      chunk.bytes ??= this.#begin(chunk);
    }
  }

  #begin(chunk: Range): Promise<Uint8Array> {
    const bytes = this.#fetch(chunk.offset, chunk.length);
    // A failure is told to whoever reads the chunk.
    bytes.catch(() => {});
    return bytes;
  }
}
