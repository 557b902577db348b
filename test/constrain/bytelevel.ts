// A byte-level vocabulary: all bytes, and what the merges of test/text/byte-level.json make of them.
import json from "../text/byte-level.json" with { type: "json" };
import { tableFrom, type Vocabulary } from "./vocabulary.ts";

/** Which byte each character of byte-level pieces is: the visible ones are themselves, the others follow from U+0100 on. */
function byteOf(): Map<string, number> {
  const own = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  const out = new Map<string, number>();
  let next = 0x100;
  for (let b = 0; b < 256; b++) out.set(String.fromCharCode(own(b) ? b : next++), b);
  return out;
}

export function byteLevel(): Vocabulary {
  const bytes = byteOf();
  const merged = json.merges.map((merge) => Uint8Array.from([...merge.replace(" ", "")], (c) => bytes.get(c)!));
  const pieces: (string | Uint8Array)[] = [...Array.from({ length: 256 }, (_, b) => Uint8Array.of(b)), ...merged];
  // What grammars are made of, in pieces that cross their rules.
  pieces.push('{"', '":', '","', '"}', "}]", "[[", "]]", "true", "false", "null", ' "', ": ", ", ");
  pieces.push("<|end|>");
  return { name: "byte level", table: tableFrom(pieces, [pieces.length - 1]), stop: [pieces.length - 1] };
}
