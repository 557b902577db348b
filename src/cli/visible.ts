// Text of files, models and servers for a terminal: what would steer it is written out instead.

/** Controls (escape sequences begin with them), and what reorders or hides the text around it. Tabs and line breaks stay. */
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;
/** Of these, what JSON.stringify leaves as it is. */
const CONTROLS_IN_JSON = /[\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;
const BROKEN = /[\n\t\u2028\u2029]/g;

const escaped = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Text of several lines as a terminal may have it: controls are written as \u001b; a carriage return before a line break is left out. */
export const visible = (text: string): string => text.replace(/\r\n/g, "\n").replace(CONTROLS, escaped);

/** JSON that says the same without controls that its strings might hold. */
export const visibleJson = (json: string): string => json.replace(CONTROLS_IN_JSON, escaped);

/** A value in one line of at most `most` characters, for tables, titles and progress. */
export function visibleLine(text: string, most = 200): string {
  // Not more than may be shown is looked at.
  const line = visible(text.slice(0, most + 1).replace(BROKEN, " "));
  return line.length > most ? `${line.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…` : line;
}
