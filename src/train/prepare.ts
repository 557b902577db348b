// Records -> shards, once: a run that is started again finds them.
import { now } from "../clock.ts";
import { fromShareGpt, type ShareGptRecord } from "../data/formats.ts";
import { textOf } from "../data/jsonlines.ts";
import { CpmError } from "../errors.ts";
import type { ChatMessage } from "../text/template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type ChatDocumentOptions, chatDocuments, textDocument } from "./documents.ts";
import { SHARD_TOKENS, Shard, ShardWriter, type TokenDocument } from "./shards.ts";
import { type RunStore, storedText, storeText } from "./store.ts";

/** A record as readers give it: its fields, or what is wrong with it, and where it stands. */
export interface DataRecord {
  readonly fields?: Readonly<Record<string, unknown>> | undefined;
  readonly error?: string | undefined;
  /** "stories.jsonl, record 12", for messages. */
  readonly place: string;
}

export interface PrepareOptions {
  /** "chat": messages (or ShareGPT's conversations); "text"; default: chat for records that have messages. */
  readonly format?: "text" | "chat" | undefined;
  /** The field with the text; default: the first of text, content, raw_content and body. */
  readonly field?: string | undefined;
  /** Cuts a text into documents. */
  readonly separator?: string | undefined;
  readonly chat?: ChatDocumentOptions | undefined;
  /** "stop" (default): a record that is none ends the run; "skip": it is counted. */
  readonly badRecords?: "stop" | "skip" | undefined;
}

export interface Prepared {
  readonly shards: readonly Shard[];
  readonly tokens: number;
  readonly trained: number;
  readonly documents: number;
  /** Records without anything to train on: bad ones, and conversations without an answer. */
  readonly skipped: number;
  /** Whether it was there already. */
  readonly found: boolean;
}

interface Manifest {
  readonly version: 1;
  readonly key: string;
  readonly shards: readonly string[];
  readonly tokens: number;
  readonly trained: number;
  readonly documents: number;
  readonly skipped: number;
}

export interface PrepareContext {
  readonly store: RunStore;
  /** Names of files begin with it. */
  readonly name: string;
  /** Tells the texts, the options and the tokenizer: shards with another key are made anew. */
  readonly key: string;
  readonly tokenizer: Tokenizer;
  /** 32 bytes that tell the tokenizer. */
  readonly tokenizerHash: Uint8Array;
  readonly vocab: number;
  readonly signal?: AbortSignal | undefined;
  onProgress?(progress: { readonly records: number; readonly tokens: number }): void;
  breathe?(): Promise<void>;
}

/** Milliseconds of work between two rests. */
const REST = 20;

const bad = (place: string, what: string): CpmError =>
  new CpmError("bad-input", `${place}: ${what}; mend the record, or set "badRecords" to "skip"`, { field: place });

/** The documents of a record. @throws CpmError "bad-input" for one that is none. */
export function documentsOfRecord(
  tokenizer: Tokenizer,
  fields: Readonly<Record<string, unknown>>,
  options: PrepareOptions,
): TokenDocument[] {
  const conversation = fields["messages"] ?? fields["conversations"];
  if (options.format === "chat" || (options.format === undefined && Array.isArray(conversation))) {
    if (!Array.isArray(conversation)) throw new CpmError("bad-input", "no messages or conversations", { field: "messages" });
    const record = fields["messages"] === undefined ? fromShareGpt(fields as unknown as ShareGptRecord) : fields;
    const tools = record["tools"];
    return chatDocuments(
      tokenizer,
      record["messages"] as readonly ChatMessage[],
      Array.isArray(tools) ? tools : undefined,
      options.chat,
    );
  }
  const text = textOf(fields, options.field);
  const texts = options.separator === undefined ? [text] : text.split(options.separator).filter((t) => t.trim() !== "");
  return texts.map((t) => textDocument(tokenizer, t));
}

/**
 * Shards of `records`: those that are there with this key, or new ones.
 * Rejects with CpmError "bad-input" for bad records and texts without documents, "bad-model" for damaged shards, "io", the signal's reason.
 */
export async function prepare(
  records: () => AsyncIterable<DataRecord>,
  options: PrepareOptions,
  context: PrepareContext,
): Promise<Prepared> {
  const { store, name, key } = context;
  const text = await storedText(store, `${name}.json`);
  const manifest = text === undefined ? undefined : parsed(text);
  if (manifest?.key === key) return { ...manifest, ...(await openAll(manifest, context)), found: true };
  for (const old of await store.names()) if (isShard(old, name)) await store.remove(old);
  const made = await tokenise(records, options, context);
  await storeText(store, `${name}.json`, `${JSON.stringify(made, null, 2)}\n`);
  return { ...made, ...(await openAll(made, context)), found: false };
}

const isShard = (file: string, name: string): boolean => file.startsWith(`${name}-`) && file.endsWith(".tokens");

function parsed(text: string): Manifest | undefined {
  try {
    const manifest = JSON.parse(text) as Manifest;
    return manifest.version === 1 && Array.isArray(manifest.shards) ? manifest : undefined;
  } catch {
    return undefined;
  }
}

async function openAll({ shards: names }: Manifest, { store, tokenizerHash, signal }: PrepareContext) {
  const shards: Shard[] = [];
  for (const file of names) {
    const source = await store.open(file);
    if (!source)
      throw new CpmError("io", `${store.name}: ${file} is missing; remove the folder's .json files of data to tokenise anew`, {
        file,
      });
    shards.push(await Shard.open(source, tokenizerHash, signal));
  }
  return { shards };
}

async function tokenise(
  records: () => AsyncIterable<DataRecord>,
  options: PrepareOptions,
  context: PrepareContext,
): Promise<Manifest> {
  const { store, name, key, tokenizer, vocab, tokenizerHash, signal } = context;
  const shards: string[] = [];
  const total = { tokens: 0, trained: 0, documents: 0, skipped: 0 };
  let writer: ShardWriter | undefined;
  const finish = async () => {
    const facts = await writer?.finish();
    writer = undefined;
    for (const field of ["tokens", "trained", "documents"] as const) total[field] += facts?.[field] ?? 0;
  };
  let [count, rested] = [0, now()];
  try {
    for await (const { fields, error, place } of records()) {
      signal?.throwIfAborted();
      count++;
      let documents: TokenDocument[] = [];
      try {
        if (error !== undefined || !fields) throw new CpmError("bad-input", error ?? "no record");
        documents = documentsOfRecord(tokenizer, fields, options);
      } catch (cause) {
        if (!(cause instanceof CpmError) || cause.code !== "bad-input") throw cause;
        if (options.badRecords !== "skip") throw bad(place, cause.message);
      }
      if (documents.length === 0) total.skipped++;
      for (const document of documents) {
        if (writer && writer.tokens + document.tokens.length > SHARD_TOKENS) await finish();
        if (!writer) {
          const file = `${name}-${String(shards.length).padStart(5, "0")}.tokens`;
          shards.push(file);
          writer = new ShardWriter(await store.create(file), vocab, tokenizerHash);
        }
        await writer.add(document);
      }
      if (now() - rested > REST) {
        context.onProgress?.({ records: count, tokens: total.tokens + (writer?.tokens ?? 0) });
        await context.breathe?.();
        rested = now();
      }
    }
    await finish();
  } catch (error) {
    await writer?.discard().catch(() => {});
    throw error;
  }
  if (total.documents === 0)
    throw new CpmError("bad-input", `${name}: ${count} records, and no document in them; check the files, "field" and "format"`, {
      field: name,
    });
  return { version: 1, key, shards, ...total };
}
