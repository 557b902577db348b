// What a tool gave -> the text that the model reads.
import { isRecord } from "../brands.ts";
import { shown } from "../shown.ts";

/** What a tool may give: a text, plain data, or a result in MCP's shape. */
export interface ToolOutput {
  readonly content?: readonly unknown[] | undefined;
  /** Preferred to the texts of `content`, which say the same. */
  readonly structuredContent?: unknown;
  readonly isError?: boolean | undefined;
}

const bytes = (base64: unknown): string =>
  typeof base64 === "string" ? `${Math.floor((base64.replace(/=+$/, "").length * 3) / 4)} bytes` : "no data";

/** Texts as they are; everything else by its name: nothing is dropped. */
function partText(part: unknown): string {
  if (!isRecord(part)) return `[${shown(part)}]`;
  const { type, text, mimeType, data, uri, name, resource } = part;
  if (type === "text" && typeof text === "string") return text;
  const kind = typeof mimeType === "string" ? `, ${mimeType.slice(0, 80)}` : "";
  if (type === "image" || type === "audio") return `[${type}${kind}, ${bytes(data)}, not shown]`;
  if (type === "resource_link") return `[resource ${shown(name ?? uri)} at ${shown(uri)}${kind}]`;
  if (type === "resource" && isRecord(resource)) {
    const at = `[resource ${shown(resource["uri"])}${typeof resource["mimeType"] === "string" ? `, ${resource["mimeType"].slice(0, 80)}` : ""}`;
    return typeof resource["text"] === "string" ? `${at}]\n${resource["text"]}` : `${at}, ${bytes(resource["blob"])}, not shown]`;
  }
  return `[a part of type ${shown(type)}]`;
}

const isOutput = (value: unknown): value is ToolOutput =>
  isRecord(value) && (Array.isArray(value["content"]) || "structuredContent" in value);

/** The text alone, as the one member of an object: as a text it is shorter, and has its line breaks. */
const wraps = (value: unknown, text: string): boolean =>
  isRecord(value) && Object.keys(value).length === 1 && Object.values(value)[0] === text;

/** The text of a tool's result, and whether the tool says that it failed. Never throws. */
export function outputText(value: unknown): { readonly text: string; readonly isError: boolean } {
  if (typeof value === "string") return { text: value === "" ? "(an empty text)" : value, isError: false };
  if (value === undefined || value === null) return { text: "(nothing)", isError: false };
  if (!isOutput(value)) return { text: json(value), isError: false };
  const { content = [], structuredContent, isError = false } = value;
  const isText = (part: unknown) => isRecord(part) && part["type"] === "text";
  const texts = content.filter(isText).map(partText).join("\n");
  const parts =
    structuredContent === undefined || wraps(structuredContent, texts)
      ? content.map(partText)
      : [json(structuredContent), ...content.filter((part) => !isText(part)).map(partText)];
  const text = parts.join("\n");
  return { text: text === "" ? "(nothing)" : text, isError: isError === true };
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? shown(value);
  } catch {
    return shown(value);
  }
}

/** Halves of surrogate pairs at a cut are left out. */
const head = (text: string, length: number): string => text.slice(0, length).replace(/[\ud800-\udbff]$/, "");
const tail = (text: string, length: number): string => (length === 0 ? "" : text.slice(-length).replace(/^[\udc00-\udfff]/, ""));

/**
 * A text of at most `budget` tokens: its beginning and its end, with a mark between them that says how much was left out. The mark's own
 * tokens are within the budget; a budget too small for it gives the mark alone.
 */
export function clip(text: string, budget: number, count: (text: string) => number): string {
  // No token is longer than 64 characters in a text that makes sense, and none shorter than a byte.
  if (text.length <= budget && count(text) <= budget) return text;
  const most = Math.min(text.length, budget * 64);
  if (text.length === most && count(text) <= budget) return text;
  const cut = (kept: number): string => {
    const [first, last] = [head(text, Math.ceil(kept * 0.7)), tail(text, Math.floor(kept * 0.3))];
    const left = text.length - first.length - last.length;
    return `${first}\n[… ${left} of ${text.length} characters left out …]\n${last}`;
  };
  let [low, high] = [0, Math.min(most, text.length - 1)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (count(cut(middle)) <= budget) low = middle;
    else high = middle - 1;
  }
  return cut(low).trim();
}
