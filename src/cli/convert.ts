// cpm convert: Hugging Face folders to GGUF files, and back.
import process from "node:process";
import type { ConvertProgress } from "cpm-wasm/convert";
import { type Command, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { note, plural, printJson } from "./output.ts";
import { duration } from "./perplexity.ts";
import { megabytes, ProgressBar } from "./progress.ts";

export const convert: Command = {
  name: "convert",
  description: "Convert a Hugging Face folder to GGUF, or a GGUF to a folder",
  args: {
    source: { type: "positional", required: true, description: "A Hugging Face folder, or a .gguf file of float weights" },
    target: { type: "positional", required: true, description: "The .gguf file, or the folder, that is written" },
    name: { type: "string", valueHint: "NAME", description: "What the model is called in it (default: what the source says)" },
    force: { type: "boolean", description: "Replace what has the target's name" },
    ...jsonArg,
  },
  async run(args) {
    const [source, target] = args.positionals;
    if (source === undefined || target === undefined) throw new UsageError("cpm convert: give a source and a target");
    const name = args.text("name");
    if (name?.trim() === "") throw new UsageError("--name: expected a name, found an empty one");
    const { convert } = await import("cpm-wasm/convert");
    const json = args.flag("json");
    const bar = !json && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
    const started = performance.now();
    const show = ({ bytes, totalBytes, tensor, secondsLeft }: ConvertProgress) =>
      bar?.show({
        what: "converting",
        done: bytes,
        total: totalBytes,
        more: [megabytes(bytes, totalBytes), `${duration(secondsLeft)} left`, tensor],
      });
    try {
      const done = await convert(source, target, {
        force: args.flag("force"),
        signal: interrupt.signal,
        onProgress: show,
        ...(name === undefined ? {} : { name }),
      });
      const seconds = (performance.now() - started) / 1000;
      if (json) return printJson({ ...done, seconds });
      bar?.close();
      const types = Object.entries(done.types).map(([type, count]) => `${count} ${type}`);
      for (const text of done.notes) note(`note: ${text}`);
      note(`${target}: ${plural(done.tensors, "tensor")} (${types.join(", ")}), ${done.bytes} bytes in ${seconds.toFixed(1)} s`);
    } finally {
      bar?.close();
    }
  },
};
