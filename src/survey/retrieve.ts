// Retrieval behind one function: a collection of passages with BM25 here, or a service over HTTP.
import { isRecord, kindOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";

/** A document that may be cited by its key. */
export interface Passage {
  readonly key: string;
  readonly title: string;
  readonly text: string;
  readonly author?: string | undefined;
  readonly year?: string | undefined;
  readonly url?: string | undefined;
}

/** The passages that fit the queries best, at most `k`, the best first. */
export type Retriever = (queries: readonly string[], k: number, signal?: AbortSignal) => Promise<readonly Passage[]>;

/** Passages with an index over them. */
export interface Corpus {
  readonly size: number;
  readonly search: Retriever;
  /** The index and its passages as JSON, for openCorpus(). */
  save(): string;
}

/** Letters and digits of a text, lower case; the sign at the end keeps a word from standing for those that begin with it. */
const wordsOf = (text: string): string[] => (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).map((word) => `${word}\u0001`);

const KEY = /^[\p{L}\p{N}][\p{L}\p{N}._:/+-]{0,99}$/u;

/** @throws CpmError "bad-input" for what is no passage */
function checkPassages(passages: readonly Passage[]): void {
  const keys = new Set<string>();
  for (const [i, passage] of passages.entries()) {
    const field = `passages[${i}]`;
    const fail = (what: string): never => {
      throw new CpmError("bad-input", `${field}: ${what}`, { field });
    };
    if (!isRecord(passage)) fail(`expected { key, title, text }, found ${kindOf(passage)}`);
    for (const name of ["key", "title", "text"] as const)
      if (typeof passage[name] !== "string") fail(`${name}: expected a text, found ${kindOf(passage[name])}`);
    if (!KEY.test(passage.key)) fail("key: expected letters, digits and . _ : / + -, at most 100");
    if (keys.has(passage.key)) fail(`key: ${passage.key} stands twice`);
    keys.add(passage.key);
  }
}

async function library() {
  try {
    const [orama, { index }] = await Promise.all([import("@orama/orama"), import("@orama/orama/components")]);
    return { orama, index };
  } catch (cause) {
    throw new CpmError(
      "unsupported",
      `a corpus needs the package @orama/orama (npm install @orama/orama): ${reasonOf(cause)}`,
      {},
      { cause },
    );
  }
}

/**
 * Indexes passages, or takes over an index that save() wrote. Ranking is BM25 (k1 1.2, b 0.75) over title and text; queries are joined by
 * reciprocal rank. Rejects with CpmError "bad-input" for what is no passage or no saved index, "unsupported" where @orama/orama is missing.
 */
export async function openCorpus(given: readonly Passage[] | { readonly saved: string }): Promise<Corpus> {
  const { orama, index } = await library();
  const parts = {
    tokenizer: { language: "english", normalizationCache: new Map<string, string>(), tokenize: wordsOf },
    index: { ...index.createIndex(), insertTokenScoreParameters: countToken },
  };
  const db = orama.create({ schema: { body: "string" } as const, components: parts as never });
  let passages: readonly Passage[];
  if ("saved" in given) {
    try {
      const value = JSON.parse(given.saved) as { readonly passages: readonly Passage[]; readonly index: never };
      passages = value.passages;
      checkPassages(passages);
      orama.load(db, value.index);
    } catch (cause) {
      throw new CpmError("bad-input", `no saved corpus: ${reasonOf(cause)}; index the documents again`, {}, { cause });
    }
  } else {
    checkPassages(given);
    passages = given;
    await orama.insertMultiple(
      db,
      given.map(({ title, text }, i) => ({ id: `${i}`, body: `${title} ${text}` })),
      500,
    );
  }
  const one = async (term: string, limit: number): Promise<number[]> => {
    if (wordsOf(term).length === 0) return [];
    const found = await orama.search(db, { term, limit, threshold: 1, relevance: { k: 1.2, b: 0.75, d: 0 } });
    // Equal scores in the order of the documents.
    return found.hits
      .map(({ id, score }) => ({ at: Number(id), score }))
      .sort((a, b) => b.score - a.score || a.at - b.at)
      .map(({ at }) => at);
  };
  return {
    size: passages.length,
    async search(queries, k, signal) {
      const scores = new Map<number, number>();
      for (const query of queries) {
        signal?.throwIfAborted();
        for (const [rank, at] of (await one(query, k)).entries()) scores.set(at, (scores.get(at) ?? 0) + 1 / (rank + 1));
      }
      return [...scores]
        .sort((a, b) => b[1] - a[1] || a[0] - b[0])
        .slice(0, k)
        .map(([at]) => passages[at]!);
    },
    save: () => JSON.stringify({ passages, index: orama.save(db) }),
  };
}

interface Counts {
  readonly frequencies: Record<string, Record<number, Record<string, number>>>;
  readonly tokenOccurrences: Record<string, Record<string, number>>;
}

/** Counts of BM25's definition: how often a word stands in a document, and in how many documents it stands. */
function countToken(index: unknown, field: string, id: number, _tokens: readonly string[], token: string): void {
  const { frequencies, tokenOccurrences } = index as Counts;
  const [own, all] = [frequencies[field]![id]!, tokenOccurrences[field]!];
  if (own[token] === undefined) all[token] = (all[token] ?? 0) + 1;
  own[token] = (own[token] ?? 0) + 1;
}

/**
 * A retriever over HTTP as the paper's demonstration has it: POST { tool_calls: [{ name: "search_engine", arguments: { query } }], topk },
 * answered with [{ bibkeys, titles, summarys }]. Rejects with CpmError "io".
 */
export function httpRetriever(
  url: string,
  {
    fetch = globalThis.fetch,
    headers = {},
  }: { readonly fetch?: typeof globalThis.fetch; readonly headers?: Readonly<Record<string, string>> } = {},
): Retriever {
  const fail = (what: string, cause?: unknown) => new CpmError("io", `retriever ${url}: ${what}`, { file: url }, { cause });
  return async (queries, k, signal) => {
    let found: unknown;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify({ tool_calls: [{ name: "search_engine", arguments: { query: queries } }], topk: k }),
        ...(signal ? { signal } : {}),
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      found = await response.json();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw fail(reasonOf(error), error);
    }
    const first: unknown = Array.isArray(found) ? found[0] : undefined;
    const list = (name: string): unknown[] => (isRecord(first) && Array.isArray(first[name]) ? first[name] : []);
    if (!isRecord(first)) throw fail("its answer is no list of results");
    const [titles, texts] = [list("titles"), list("summarys")];
    return list("bibkeys")
      .slice(0, k)
      .flatMap((key, i) => {
        const [title, text] = [titles[i], texts[i]];
        return typeof key === "string" && KEY.test(key)
          ? [{ key, title: typeof title === "string" && title ? title : key, text: typeof text === "string" ? text : "" }]
          : [];
      });
  };
}
