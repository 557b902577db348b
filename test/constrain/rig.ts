// Automata over vocabularies: a tiny one of bytes and odd tokens, the embedded model's, and real ones where they are.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { compileMachine } from "../../src/constrain/machine.ts";
import { type SchemaOptions, schemaGrammar } from "../../src/constrain/schema/compile.ts";
import { Automaton, DEAD } from "../../src/decode/constrain.ts";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { pieceTable } from "../../src/text/pieces.ts";
import type { PieceTable, TokenizerData } from "../../src/text/vocabulary.ts";

export const constrainModule = await WebAssembly.compile(readFileSync(new URL("../../wasm/constrain.wasm", import.meta.url)));

export interface Vocabulary {
  readonly name: string;
  readonly table: PieceTable;
  readonly stop: readonly number[];
  readonly data?: TokenizerData;
}

/** Pieces as bytes; `special` ones have no text. */
export function tableFrom(pieces: readonly (string | Uint8Array)[], special: readonly number[]): PieceTable {
  const all = pieces.map((p) => (typeof p === "string" ? new TextEncoder().encode(p) : p));
  const offsets = new Uint32Array(all.length + 1);
  for (let i = 0; i < all.length; i++) offsets[i + 1] = offsets[i]! + all[i]!.length;
  const bytes = new Uint8Array(offsets[all.length]!);
  for (let i = 0; i < all.length; i++) bytes.set(all[i]!, offsets[i]);
  const kinds = new Uint8Array(all.length);
  for (const id of special) kinds[id] = 1;
  return { bytes, offsets, special: kinds, stripSpace: false };
}

/** All bytes, then tokens that cross what grammars are made of, some twice, and cut characters. */
export const tiny: Vocabulary = (() => {
  const words = `{" "} ": ," "," ":" ": " ["}] "] [[ ]] {} [] "" \\" \\\\ \\n \\u00 é — 漢字 😀 abc name "name "name" true false null ull tr 12 0. e- -1 <tool> </ te ol> a  b   xyzxyz aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`;
  const pieces: (string | Uint8Array)[] = Array.from({ length: 256 }, (_, b) => Uint8Array.of(b));
  pieces.push(
    ...words.split(" "),
    "  ",
    ", ",
    ": ",
    "\n",
    "\n  ",
    "abc",
    "a",
    "é",
    Uint8Array.of(0xe6, 0xbc),
    Uint8Array.of(0xa2, 0x22),
  );
  pieces.push("<s>", "</s>", "<|end|>", "<|call|>", "");
  const count = pieces.length;
  return { name: "tiny", table: tableFrom(pieces, [count - 5, count - 4, count - 3, count - 2]), stop: [count - 4, count - 3] };
})();

export const callToken = tiny.table.special.length - 2;

/** The vocabulary of a model file, or of a tokenizer's. */
export async function vocabularyOf(path: string): Promise<Vocabulary> {
  const { tokenizer: read } = await readTokenizer(
    memoryFiles(basename(path), { [basename(path)]: new Uint8Array(readFileSync(path)) }),
  );
  // How text is cut before it is merged has no part in what tokens stand for.
  const { vocabulary } = read;
  const data: TokenizerData =
    vocabulary.kind === "pieces" && vocabulary.model === "bpe" ? { ...read, vocabulary: { ...vocabulary, pre: "gpt-2" } } : read;
  return { name: basename(path), table: pieceTable(data), stop: data.stop, data };
}

export const embedded = await vocabularyOf(fileURLToPath(new URL("../../models/stories-q4_0.gguf", import.meta.url)));

export const automaton = ({ table, stop }: Vocabulary): Promise<Automaton> => Automaton.create(constrainModule, table, stop);

const tinyAutomaton = await automaton(tiny);
const utf8 = new TextEncoder();

/** Whether a schema's grammar takes a text: "yes", or what was taken before it was refused. */
export function takes(schema: unknown, text: string, options?: SchemaOptions): string {
  return runs(compileMachine(schemaGrammar(schema, options).part), text);
}

export function runs(machine: ReturnType<typeof compileMachine>, text: string): string {
  const a = tinyAutomaton.load(machine);
  const bytes = utf8.encode(text);
  const { state, taken } = a.advanceBytes(a.start(), bytes);
  if (state !== DEAD && a.accepting(state)) return "yes";
  return state === DEAD ? `refused after ${new TextDecoder().decode(bytes.slice(0, taken))}` : "unfinished";
}

export const bit = (mask: Uint32Array, token: number): boolean => ((mask[token >> 5]! >>> (token & 31)) & 1) === 1;
