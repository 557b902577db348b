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
import type { TokenizerData } from "../../src/text/vocabulary.ts";
import { tiny, type Vocabulary } from "./vocabulary.ts";

export const constrainModule = await WebAssembly.compile(readFileSync(new URL("../../wasm/constrain.wasm", import.meta.url)));

export { bit, callToken, tableFrom, tiny, type Vocabulary } from "./vocabulary.ts";

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
