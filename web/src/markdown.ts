// Markdown to nodes. Text of a model becomes elements of this list alone, made one by one: no HTML is ever parsed, nothing is loaded,
// links lead to the web or a mailbox only.
import { Lexer, type Token, type Tokens } from "marked";

const lexer = () => new Lexer({ gfm: true, breaks: false });

/** The blocks of a text, each with the source that it was read from. */
export const blocksOf = (text: string): Token[] => lexer().lex(text);

function el(name: string, children: readonly Node[] = []): HTMLElement {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}

const text = (value: string): Text => document.createTextNode(value);

/** Entities that Markdown knows by name; numbers are read as code points. */
const named: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const decoded = (value: string): string =>
  value.replace(/&(#x[\da-f]{1,6}|#\d{1,7}|[a-z]+);/gi, (whole, name: string) => {
    if (!name.startsWith("#")) return named[name.toLowerCase()] ?? whole;
    const code = name[1]?.toLowerCase() === "x" ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });

function link(href: string, children: readonly Node[], label: string): Node {
  let url: URL;
  try {
    url = new URL(href);
  } catch {
    return el("span", children);
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return el("span", children);
  const a = el("a", children) as HTMLAnchorElement;
  a.href = url.href;
  a.target = "_blank";
  a.rel = "noopener noreferrer";
  // A label that names another host than the link leads to is told.
  const claimed = /([\w-]+\.)+[a-z]{2,}/i.exec(label)?.[0];
  if (claimed && url.hostname && !url.hostname.endsWith(claimed.toLowerCase())) a.append(text(` (${url.hostname})`));
  return a;
}

const inlines = (tokens: readonly Token[] | undefined): Node[] => (tokens ?? []).map(inline);

function inline(token: Token): Node {
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return el(token.type, inlines((token as Tokens.Strong).tokens));
    case "codespan":
      return el("code", [text(decoded((token as Tokens.Codespan).text))]);
    case "br":
      return el("br");
    case "link":
      return link((token as Tokens.Link).href, inlines((token as Tokens.Link).tokens), (token as Tokens.Link).text);
    case "image":
      return link((token as Tokens.Image).href, [text(`[${(token as Tokens.Image).text || "image"}]`)], "");
    case "text": {
      const inner = (token as Tokens.Text).tokens;
      return inner ? el("span", inlines(inner)) : text(decoded((token as Tokens.Text).text));
    }
    case "escape":
      return text((token as Tokens.Escape).text);
    default:
      return text(token.raw);
  }
}

/** A button that copies what `read` gives and says so. */
function copyButton(read: () => string): HTMLElement {
  const button = el("button", [text("Copy")]);
  button.className = "copy";
  (button as HTMLButtonElement).type = "button";
  button.addEventListener("click", () => {
    void copyText(read()).then((done) => {
      button.textContent = done ? "Copied" : "Not copied";
      setTimeout(() => {
        button.textContent = "Copy";
      }, 1500);
    });
  });
  return button;
}

/** Copies, also where there is no clipboard (plain HTTP). Whether it did. */
export async function copyText(value: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = value;
    area.className = "offscreen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A fenced block, whose text may still grow: `code` is the node to add to. */
export function codeBlock(language: string, content: string): { readonly block: HTMLElement; readonly code: Text } {
  const code = text(content);
  const pre = el("pre", [el("code", [code])]);
  pre.tabIndex = 0;
  const label = el("span", [text(language)]);
  const head = el("div", [label, copyButton(() => code.data)]);
  head.className = "code-head";
  const block = el("div", [head, pre]);
  block.className = "code";
  return { block, code };
}

function list(token: Tokens.List): Node {
  const node = el(
    token.ordered ? "ol" : "ul",
    token.items.map((item) => {
      const children = item.tokens.map((one) =>
        one.type === "text" ? el("span", inlines((one as Tokens.Text).tokens ?? [one])) : block(one),
      );
      if (item.task) children.unshift(text(item.checked ? "☑ " : "☐ "));
      return el("li", children);
    }),
  );
  if (token.ordered && typeof token.start === "number" && token.start !== 1) (node as HTMLOListElement).start = token.start;
  return node;
}

function table(token: Tokens.Table): Node {
  const row = (cells: readonly Tokens.TableCell[], name: string) =>
    el(
      "tr",
      cells.map((cell) => el(name, inlines(cell.tokens))),
    );
  const node = el("table", [
    el("thead", [row(token.header, "th")]),
    el(
      "tbody",
      token.rows.map((cells) => row(cells, "td")),
    ),
  ]);
  const wrap = el("div", [node]);
  wrap.className = "wide";
  wrap.tabIndex = 0;
  return wrap;
}

/** One block as a node; undefined for what shows nothing. */
export function block(token: Token): Node {
  switch (token.type) {
    case "heading":
      // Answers stand below the page's own headings.
      return el(`h${Math.min(6, (token as Tokens.Heading).depth + 2)}`, inlines((token as Tokens.Heading).tokens));
    case "paragraph":
      return el("p", inlines((token as Tokens.Paragraph).tokens));
    case "code":
      return codeBlock((token as Tokens.Code).lang ?? "", (token as Tokens.Code).text).block;
    case "blockquote":
      return el("blockquote", ((token as Tokens.Blockquote).tokens ?? []).map(block));
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return el("hr");
    case "space":
    case "def":
      return document.createDocumentFragment();
    case "text":
      return el("p", inlines((token as Tokens.Text).tokens ?? [token]));
    default:
      // Raw HTML shows as the text that it is.
      return el("p", [text(token.raw)]);
  }
}

/** A whole text. */
export function markdown(source: string): Node[] {
  return blocksOf(source).map(block);
}
