// Addresses as texts.
import { CpmError } from "../errors.ts";

/** An address for messages: without user, password and query, which may hold secrets. */
export function shownUrl(address: string | URL): string {
  const text = String(address);
  try {
    const url = new URL(text);
    if (url.protocol !== "http:" && url.protocol !== "https:") return text.length > 100 ? `${text.slice(0, 60)}…` : text;
    return `${url.origin}${url.pathname}${url.search ? "?…" : ""}`;
  } catch {
    return text
      .replace(/\/\/[^/@]*@/, "//")
      .replace(/[?#].*$/s, "?…")
      .slice(0, 500);
  }
}

/** Throws "bad-input" for what is no URL. */
export function parseUrl(url: string | URL, base?: string): URL {
  try {
    return new URL(url, base);
  } catch (cause) {
    throw new CpmError(
      "bad-input",
      `model: expected a URL, found "${shownUrl(url)}"; check the address`,
      { field: "model", found: shownUrl(url) },
      { cause },
    );
  }
}

/** Percent escapes that are not UTF-8 stay as they are. */
export function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
