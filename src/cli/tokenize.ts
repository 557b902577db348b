// cpm tokenize: text to token ids and back.
import { readFile } from "node:fs/promises";
import { loadTokenizer } from "cpm-wasm";
import type { Command } from "./args.ts";
import { UsageError } from "./args.ts";
import { interrupt, modelOf } from "./model.ts";
import { headers, jsonArg, loadArgs, modelArg } from "./options.ts";
import { printJson, write } from "./output.ts";

export const tokenize: Command = {
  name: "tokenize",
  description: "Show the tokens of a text",
  args: {
    ...modelArg,
    text: { type: "string", valueHint: "TEXT", description: "The text" },
    "text-file": { type: "string", valueHint: "FILE", description: "Read the text from a file" },
    "no-special": { type: "boolean", description: "Treat the names of special tokens as ordinary text" },
    "no-bos": { type: "boolean", description: "Do not begin with the BOS token" },
    header: loadArgs.header,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const [given, file] = [args.text("text"), args.text("text-file")];
    if ((given === undefined) === (file === undefined)) throw new UsageError("cpm tokenize: give --text or --text-file");
    const text = given ?? (await readFile(file!, "utf8"));
    const tokenizer = await loadTokenizer(modelOf(args.positionals[0]), { headers: headers(args), signal: interrupt.signal });
    const ids = tokenizer.encode(text, { special: !args.flag("no-special"), ...(args.flag("no-bos") ? { bos: false } : {}) });
    const pieces = ids.map((id) => tokenizer.piece(id));
    // What decoding gives back is the text: the BOS that encoding put in front is not part of it.
    const decoded = tokenizer.decode(ids[0] === tokenizer.bos && !args.flag("no-bos") ? ids.slice(1) : ids);
    if (args.flag("json")) return printJson({ ids, pieces, decoded });
    await write(`${ids.map((id, i) => `${String(id).padStart(7)}  ${JSON.stringify(pieces[i])}`).join("\n")}\n${ids.length} tokens\n`);
  },
};
