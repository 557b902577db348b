// GGUF files published in parts: model-00001-of-00003.gguf and its siblings.
import { modelError } from "../errors.ts";
import { type Gguf, readGguf } from "./gguf.ts";
import { type ModelFiles, type Source, whereIs } from "./source.ts";

const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** Opens a GGUF by its entry name; of a split file, any part opens all. */
export async function openGguf(files: ModelFiles, source: Source, signal?: AbortSignal): Promise<Gguf> {
  const first = await readGguf(source, signal);
  const count = first.metadata.get("split.count");
  if (typeof count !== "number" || count <= 1) return first;
  const name = PART.exec(files.entry);
  if (!name || Number(name[3]) !== count || count > 10000)
    throw modelError(
      {
        file: source.name,
        field: "split.count",
        expected: "a name like model-00001-of-00003.gguf that agrees with it",
        found: `${count} parts, name "${files.entry}"`,
      },
      "split file",
      "keep the names that the parts were published with",
    );
  const parts: Gguf[] = [];
  for (let i = 1; i <= count; i++) {
    const part = `${name[1]}-${String(i).padStart(5, "0")}-of-${name[3]}.gguf`;
    const opened = part === files.entry ? source : await files.open(part, signal);
    if (!opened)
      throw modelError(
        { file: part, expected: `all ${count} parts beside each other`, found: `this one is missing (${whereIs(files, part)})` },
        "split file",
        "put all parts into one folder",
      );
    const gguf = part === files.entry ? first : await readGguf(opened, signal);
    const [number, total] = [gguf.metadata.get("split.no"), gguf.metadata.get("split.count")];
    if (number !== i - 1 || total !== count)
      throw modelError(
        { file: part, field: "split.no", expected: `${i - 1} of ${count}`, found: `${number} of ${total}` },
        "split file",
      );
    parts.push(gguf);
  }
  const tensors = parts.flatMap((p) => p.tensors);
  const names = new Set(tensors.map((t) => t.name));
  const expected = first.metadata.get("split.tensors.count");
  if (names.size !== tensors.length || (expected !== undefined && expected !== tensors.length))
    throw modelError(
      { file: source.name, field: "split.tensors.count", expected: `${expected} different tensors`, found: String(names.size) },
      "split file",
    );
  return { version: first.version, metadata: parts[0]!.metadata, places: parts[0]!.places, tensors };
}
