// A survey as Markdown, or as LaTeX with BibTeX.
import type { Passage } from "./retrieve.ts";
import { citationsOf, contentAt, positionsOf, type Survey } from "./tree.ts";

/** Sources that are cited, in the order of the document. */
export function cited(survey: Survey, sources: readonly Passage[]): Passage[] {
  const keys = new Set(positionsOf(survey).flatMap((position) => citationsOf(contentAt(survey, position) ?? "")));
  return [...keys].flatMap((key) => sources.find((source) => source.key === key) ?? []);
}

const CITE = /\\cite\{([^}]*)\}/g;
const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim();

/** Markdown with numbered references. Positions that were not written are left out. */
export function toMarkdown(survey: Survey, sources: readonly Passage[]): string {
  const list = cited(survey, sources);
  const numbers = (keys: string) =>
    keys
      .split(",")
      .map((key) => list.findIndex((source) => source.key === key.trim()) + 1)
      .filter((n) => n > 0)
      .join(", ");
  const text = (content: string) => content.replace(CITE, (_, keys: string) => `[${numbers(keys)}]`).trim();
  const part = (level: number, title: string, content: string | undefined) =>
    content === undefined ? [] : [`${"#".repeat(level)} ${oneLine(title)}`, text(content)];
  const sections = survey.sections.flatMap(({ title, content, subsections = [] }) => {
    const inner = subsections.flatMap((sub) => part(3, sub.title, sub.content));
    return content === undefined && inner.length ? [`## ${oneLine(title)}`, ...inner] : [...part(2, title, content), ...inner];
  });
  const references = list.map(
    ({ key, title, author, year, url }, i) =>
      `${i + 1}. ${[author, `*${oneLine(title)}*`, year, url, `(${key})`]
        .filter(Boolean)
        .map((x) => oneLine(x!))
        .join(". ")}`,
  );
  return `${[
    `# ${oneLine(survey.title)}`,
    ...part(2, "Abstract", survey.abstract),
    ...part(2, "Introduction", survey.introduction),
    ...sections,
    ...part(2, "Conclusion", survey.conclusion),
    ...(references.length ? ["## References", references.join("\n")] : []),
  ].join("\n\n")}\n`;
}

const SPECIAL: Readonly<Record<string, string>> = {
  "\\": "\\textbackslash{}",
  // BibTeX counts braces, escaped ones, too.
  "{": "\\textbraceleft{}",
  "}": "\\textbraceright{}",
  $: "\\$",
  "&": "\\&",
  "#": "\\#",
  "%": "\\%",
  _: "\\_",
  "^": "\\textasciicircum{}",
  "~": "\\textasciitilde{}",
};
/** Text that LaTeX prints as it is; controls are left out. */
const escaped = (text: string): string =>
  text.replace(/[\\{}$&#%_^~]/g, (c) => SPECIAL[c]!).replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");

/** Keys of any letters as BibTeX takes them: the n-th source is ref-n. */
const label = (list: readonly Passage[], key: string): string => `ref-${list.findIndex((source) => source.key === key) + 1}`;

/** A document for pdflatex, xelatex or lualatex with BibTeX; `bibliography` is the .bib file's name without its end. */
export function toLatex(
  survey: Survey,
  sources: readonly Passage[],
  bibliography: string,
): { readonly tex: string; readonly bib: string } {
  const list = cited(survey, sources);
  const text = (content: string): string => {
    let [out, from] = ["", 0];
    for (const match of content.matchAll(CITE)) {
      const keys = match[1]!
        .split(",")
        .map((key) => key.trim())
        .filter((key) => list.some((source) => source.key === key));
      out +=
        escaped(content.slice(from, match.index)) +
        (keys.length ? `\\cite{${keys.map((key) => label(list, key)).join(",")}}` : "");
      from = match.index + match[0].length;
    }
    return (out + escaped(content.slice(from))).trim();
  };
  const part = (command: string, title: string, content: string | undefined) => [
    `\\${command}{${escaped(oneLine(title))}}`,
    ...(content === undefined ? [] : [text(content)]),
  ];
  const tex = [
    "\\documentclass{article}",
    "\\usepackage{iftex}",
    "\\ifPDFTeX\\usepackage[utf8]{inputenc}\\usepackage[T1]{fontenc}\\fi",
    `\\title{${escaped(oneLine(survey.title))}}`,
    "\\date{}",
    "\\begin{document}",
    "\\maketitle",
    ...(survey.abstract === undefined ? [] : ["\\begin{abstract}", text(survey.abstract), "\\end{abstract}"]),
    ...(survey.introduction === undefined ? [] : part("section", "Introduction", survey.introduction)),
    ...survey.sections.flatMap(({ title, content, subsections = [] }) => [
      ...part("section", title, content),
      ...subsections.flatMap((sub) => part("subsection", sub.title, sub.content)),
    ]),
    ...(survey.conclusion === undefined ? [] : part("section", "Conclusion", survey.conclusion)),
    ...(list.length ? ["\\bibliographystyle{plain}", `\\bibliography{${bibliography}}`] : []),
    "\\end{document}",
  ];
  const bib = list.map((source) => {
    const fields = {
      title: `{${escaped(oneLine(source.title))}}`,
      author: source.author && escaped(oneLine(source.author)),
      year: source.year && escaped(oneLine(source.year)),
      key: source.author ? undefined : escaped(oneLine(source.title)),
      note: escaped(source.url ?? source.key),
    };
    return `@misc{${label(list, source.key)},\n${Object.entries(fields)
      .filter(([, value]) => value)
      .map(([name, value]) => `  ${name} = {${value}}`)
      .join(",\n")}\n}`;
  });
  return { tex: `${tex.join("\n")}\n`, bib: `${bib.join("\n\n")}\n` };
}
