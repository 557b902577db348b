// cpm survey: a folder of documents -> a report that cites them.
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, extname, join, relative } from "node:path";
import process from "node:process";
import { isRecord } from "../brands.ts";
import { CpmError } from "../index.ts";
import type { Passage, Retriever, SurveyState } from "../survey/index.ts";
import { apiArgs, chatModel } from "./agent.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { generateOptions, jsonArg, loadArgs, modelArg, networkArgs, samplingArgs } from "./options.ts";
import { dim, note, plural, printJson, writeFileWhole } from "./output.ts";
import { visible, visibleLine } from "./visible.ts";

const { stop: _, ...sampling } = samplingArgs;

export const survey: Command = {
  name: "survey",
  description: "Write a report about a query from documents, with citations",
  args: {
    query: { type: "positional", required: true, description: "What the report is about" },
    corpus: {
      type: "string",
      valueHint: "PATH",
      description: "A folder of .txt and .md files, or a .jsonl file with key, title and text; may be repeated",
    },
    retriever: {
      type: "string",
      valueHint: "URL",
      description: "Instead of --corpus: a service like the paper's demonstration has",
    },
    index: {
      type: "string",
      valueHint: "FILE",
      description: "Keep the corpus's index here, and use it while the documents are the same",
    },
    out: { type: "string", alias: "o", valueHint: "FILE", description: "The report: .md, or .tex beside a .bib" },
    model: { type: "string", valueHint: "MODEL", description: modelArg.model.description },
    ...apiArgs,
    passages: { type: "string", valueHint: "N", description: "Documents of each search that the model reads (default 8)" },
    "max-turns": { type: "string", valueHint: "N", description: "Answers of the model, at most (default 100)" },
    anew: { type: "boolean", description: "Begin anew, also where a run of this query can be gone on with" },
    ...sampling,
    ...loadArgs,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["corpus", "header"],
  async run(args) {
    const [query, out] = [args.positionals[0], args.text("out")];
    if (query === undefined || query.trim() === "") throw new UsageError("cpm survey: the query is missing");
    if (out === undefined) throw new UsageError("cpm survey: --out is missing: where the report goes");
    const { stop, ...given } = generateOptions(args);
    const generate = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    const quiet = args.flag("json");
    const search = await retrieverOf(args, quiet);
    const place = `${out}.survey.json`;
    const state = args.flag("anew") ? undefined : await saved(place, query);
    if (state && !quiet) note(dim(`going on behind turn ${state.turn}, as ${visibleLine(place)} has it; --anew begins anew`));
    const { writeSurvey, unwritten, positionsOf } = await import("cpm-wasm/survey");
    const model = await chatModel(args, args.text("model"), quiet);
    try {
      const ended = await writeSurvey(model.chat, query, {
        search,
        state,
        generate,
        topK: args.number("passages"),
        maxTurns: args.number("max-turns"),
        signal: interrupt.signal,
        onTurn: async (now, what) => {
          await writeFileWhole(place, JSON.stringify(now), "--out");
          if (quiet) return;
          if (what === "plan") return note(visible(titles(now)));
          const total = now.survey ? positionsOf(now.survey).length : 0;
          const done = now.survey ? total - unwritten(now.survey).length : 0;
          note(dim(`turn ${now.turn}: ${visibleLine(what, 100)}${total ? ` (${done} of ${total} written)` : ""}`));
        },
      });
      const files = await print(ended, out);
      const { turn, ended: why, sources } = ended;
      if (quiet) return await printJson({ ended: why, turns: turn, sources: sources.length, files });
      note(
        `${files.map((file) => visibleLine(file)).join(" and ")}: ${plural(turn, "turn")}${why === "finished" ? "" : `, not all of it is written (${why === "turns" ? "the last turn is over" : "answers could not be used"})`}`,
      );
      if (why !== "finished") process.exitCode = 1;
    } finally {
      await model.close();
    }
  },
};

/** The plan, a heading a line. */
const titles = ({ survey: made }: SurveyState): string =>
  [
    made!.title,
    ...made!.sections.flatMap(({ title, subsections = [] }, i) => [
      `  ${i + 1} ${title}`,
      ...subsections.map((sub, j) => `    ${i + 1}.${j + 1} ${sub.title}`),
    ]),
  ]
    .map((line) => line.replace(/\s*\n\s*/g, " "))
    .join("\n");

async function print({ survey: made, sources, query }: SurveyState, out: string): Promise<string[]> {
  const { toLatex, toMarkdown } = await import("cpm-wasm/survey");
  const whole = made ?? { title: query, sections: [] };
  if (extname(out) !== ".tex") {
    await writeFileWhole(out, toMarkdown(whole, sources), "--out");
    return [out];
  }
  const bibliography = out.replace(/\.tex$/, ".bib");
  const { tex, bib } = toLatex(whole, sources, basename(bibliography, ".bib"));
  await writeFileWhole(out, tex, "--out");
  await writeFileWhole(bibliography, bib, "--out");
  return [out, bibliography];
}

async function saved(place: string, query: string): Promise<SurveyState | undefined> {
  const text = await readFile(place, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  let state: SurveyState;
  try {
    state = JSON.parse(text) as SurveyState;
  } catch (cause) {
    throw new CpmError("bad-input", `${place}: no state of a survey; --anew begins anew`, { file: place }, { cause });
  }
  // Another query's run, and one that has written everything, are not gone on with; one that ran out of turns is.
  if (state.query !== query || state.ended === "finished") return undefined;
  const { ended: _, ...open } = state;
  return { ...open, failures: 0 };
}

async function retrieverOf(args: Parsed, quiet: boolean): Promise<Retriever> {
  const { httpRetriever, openCorpus } = await import("cpm-wasm/survey");
  const [url, paths, index] = [args.text("retriever"), args.list("corpus"), args.text("index")];
  if ((url === undefined) === (paths.length === 0)) throw new UsageError("cpm survey: give --corpus or --retriever");
  if (url !== undefined) return httpRetriever(url);
  const passages = (await Promise.all(paths.map(passagesOf))).flat();
  if (passages.length === 0) throw new CpmError("bad-input", `no documents in ${paths.join(", ")}; expected .txt, .md or .jsonl`);
  const hash = createHash("sha256").update(JSON.stringify(passages)).digest("hex");
  const kept = index === undefined ? undefined : await readFile(index, "utf8").catch(() => undefined);
  if (kept?.startsWith(`${hash}\n`)) return (await openCorpus({ saved: kept.slice(hash.length + 1) })).search;
  const corpus = await openCorpus(passages);
  if (index !== undefined) await writeFileWhole(index, `${hash}\n${corpus.save()}`, "--index");
  if (!quiet) note(dim(`${plural(corpus.size, "document")}`));
  return corpus.search;
}

/** Documents of a file or of all files in a folder. Rejects with CpmError "io" or "bad-input". */
async function passagesOf(path: string): Promise<Passage[]> {
  try {
    if (!(await stat(path)).isDirectory()) return await fileOf(path, basename(path));
    const names = (await readdir(path, { recursive: true })).filter((name) => /\.(?:txt|md|jsonl)$/i.test(name)).sort();
    return (await Promise.all(names.map((name) => fileOf(join(path, name), relative(path, join(path, name)))))).flat();
  } catch (cause) {
    if (cause instanceof CpmError) throw cause;
    throw new CpmError("io", `${path}: ${(cause as Error).message}; check --corpus`, { file: path }, { cause });
  }
}

async function fileOf(path: string, name: string): Promise<Passage[]> {
  const text = await readFile(path, "utf8");
  if (!/\.jsonl$/i.test(path)) {
    const heading = /^\s*#*\s*(\S.*)$/m.exec(text)?.[1]?.trim();
    const key = name
      .replace(/\.[^.]+$/, "")
      .replace(/[^\p{L}\p{N}._:/+-]+/gu, "-")
      .replace(/^[^\p{L}\p{N}]+/u, "")
      .slice(0, 100);
    return text.trim() === "" ? [] : [{ key: key || "document", title: (heading ?? name).slice(0, 200), text }];
  }
  return text.split("\n").flatMap((line, i) => {
    if (line.trim() === "") return [];
    let row: unknown;
    try {
      row = JSON.parse(line);
    } catch {}
    if (!isRecord(row))
      throw new CpmError("bad-input", `${path}:${i + 1}: expected an object with key, title and text`, { file: path });
    const field = (...names: readonly string[]) => {
      const value = names.map((one) => row[one]).find((one) => typeof one === "string" || typeof one === "number");
      return value === undefined ? undefined : String(value as string | number);
    };
    const key = field("key", "bibkey", "id") ?? `${name}-${i + 1}`;
    const body = field("text", "abstract", "content") ?? "";
    return [
      {
        key,
        title: field("title") ?? key,
        text: body,
        author: field("author", "authors"),
        year: field("year"),
        url: field("url"),
      },
    ];
  });
}
