// An argument that a format writes as bare text -> JSON, by what its schema says.
import { Cursor } from "./cursor.ts";
import { jsonValue } from "./json.ts";
import { pythonValue } from "./python.ts";

/** The whole text as one literal, or undefined. */
function whole(text: string, read: (cursor: Cursor) => string): string | undefined {
  // A blank behind it, so that numbers end.
  const cursor = new Cursor(`${text} `);
  try {
    const value = read(cursor);
    cursor.space();
    return cursor.ended && cursor.spoilt === undefined ? value : undefined;
  } catch {
    return undefined;
  }
}

/** `types`: what the schema allows, empty for anything. Text for strings; else JSON, else a Python literal, else text. */
export function typedValue(text: string, types: readonly string[]): string {
  const trimmed = text.trim();
  if (types.includes("string")) {
    if (types.includes("null") && (trimmed === "null" || trimmed === "None")) return "null";
    return JSON.stringify(text);
  }
  return whole(trimmed, jsonValue) ?? whole(trimmed, pythonValue) ?? JSON.stringify(text);
}
