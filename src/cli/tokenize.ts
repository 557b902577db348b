// cpm tokenize: text to token ids and back.
import { loadTokenizer } from "cpm-wasm";
import { type Command, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { modelOf } from "./model.ts";
import { headers, jsonArg, loadArgs, modelArg, networkArgs, textOf } from "./options.ts";
import { plural, printJson, write } from "./output.ts";

export const tokenize: Command = {
  name: "tokenize",
  description: "Show the tokens of a text",
  args: {
    model: { ...modelArg.model, description: `${modelArg.model.description}; also a tokenizer.json or tokenizer.model` },
    text: { type: "string", valueHint: "TEXT", description: "The text" },
    "text-file": { type: "string", valueHint: "FILE", description: "Read the text from a file, as it is" },
    "no-special": { type: "boolean", description: "Treat the names of special tokens as ordinary text" },
    "no-bos": { type: "boolean", description: "Do not begin with the BOS token" },
    header: loadArgs.header,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  input: "text",
  async run(args) {
    const text = await textOf(args, "text");
    if (text === undefined) throw new UsageError("cpm tokenize: give --text or --text-file");
    const options = { headers: headers(args), signal: interrupt.signal };
    const tokenizer = await loadTokenizer(await modelOf(args.positionals[0], args.flag("json")), options);
    const bos = args.flag("no-bos") ? { bos: false } : {};
    const ids = tokenizer.encode(text, { special: !args.flag("no-special"), ...bos });
    const pieces = ids.map((id) => tokenizer.piece(id));
    // What decoding gives back is the text: the BOS that encoding put in front is not part of it.
    const begun = !args.flag("no-bos") && tokenizer.data.addBos && ids[0] === tokenizer.bos;
    const decoded = tokenizer.decode(begun ? ids.slice(1) : ids);
    if (args.flag("json")) return printJson({ ids, pieces, decoded });
    const rows = ids.map((id, i) => `${String(id).padStart(7)}  ${JSON.stringify(pieces[i])}\n`);
    await write(`${rows.join("")}${plural(ids.length, "token")}\n`);
  },
};
