// Long context: a question about one document, which stands at a random place among documents that a search for the question finds.
import type { Verdict } from "../../data/verify/types.ts";
import { verdict } from "../../data/verify/types.ts";
import { CpmError } from "../../errors.ts";
import { openCorpus, type Retriever } from "../../survey/retrieve.ts";
import { Dropped, type Item } from "../item.ts";
import type { LongConfig, SeedRecord, Stage } from "../types.ts";
import { supported } from "./shared.ts";

interface Document {
  readonly title: string;
  readonly text: string;
  /** In tokens, with its title. */
  readonly length: number;
}

/** The documents of all seeds, and what finds them. */
export interface Shelf {
  readonly documents: readonly Document[];
  readonly search: Retriever;
  readonly count: (text: string) => number;
}

const written = ({ title, text }: Pick<Document, "title" | "text">): string => (title === "" ? text : `${title}\n\n${text}`);

/** Rejects with CpmError "bad-input" for seeds without a text, "unsupported" where @orama/orama is missing. */
export async function shelfOf(seeds: readonly SeedRecord[], count: (text: string) => number): Promise<Shelf> {
  const documents = seeds.map(({ text, title }, i): Document => {
    if (typeof text !== "string" || text.trim() === "")
      throw new CpmError("bad-input", `seed ${i} of the family long has no text; give it one`, { field: "seeds" });
    const named = typeof title === "string" ? title : "";
    return { title: named, text, length: count(written({ title: named, text })) };
  });
  const corpus = await openCorpus(documents.map(({ title, text }, i) => ({ key: `d${i}`, title, text })));
  return { documents, search: corpus.search, count };
}

const KINDS = ["extract", "summarise", "reason", "question"] as const;
/** Tokens that a document's frame takes, about. */
const FRAME = 12;

/** A document's frame among others. */
const framed = (document: Document, i: number): string => `<document id="${i + 1}">\n${written(document)}\n</document>`;

interface Composed {
  readonly documents: readonly Document[];
  /** Where the one stands that is asked about, from 1. */
  readonly position: number;
}

/** k documents that the question finds, never one that holds the answer, with the right one at a random place among them. */
async function compose(
  item: Item,
  shelf: Shelf,
  at: number,
  question: string,
  answer: string,
  target: number,
): Promise<Composed> {
  const { documents, search } = shelf;
  const own = documents[at]!;
  const found = await search([question], documents.length, item.shop.signal);
  const ranked = found.map(({ key }) => Number(key.slice(1)));
  const rest = item.random.shuffled(documents.map((_, i) => i).filter((i) => !ranked.includes(i)));
  const telling = answer.length <= 200 ? answer.trim().toLowerCase() : undefined;
  const others: Document[] = [];
  let length = own.length + shelf.count(question) + 3 * FRAME;
  for (const i of [...ranked, ...rest]) {
    const other = documents[i]!;
    if (i === at || other.text === own.text || length + other.length + FRAME > target) continue;
    if (telling !== undefined && other.text.toLowerCase().includes(telling)) continue;
    others.push(other);
    length += other.length + FRAME;
  }
  const mixed = item.random.shuffled(others);
  const position = item.random.between(1, mixed.length + 1);
  mixed.splice(position - 1, 0, own);
  return { documents: mixed, position };
}

const flat = (text: string): string => text.replace(/\s+/g, " ").trim().toLowerCase();

export async function long(item: Item, config: LongConfig, shelf: Shelf, place: number): Promise<void> {
  const { random, source } = item;
  const { samples = 4, keep = 1, check = true, kinds = KINDS } = config;
  const [least, most] = config.tokens ?? [8192, 65_536];
  const target = random.between(least, most);
  const text = item.text("text")!;
  const given = item.text("question");
  const kind = given === undefined ? random.pick(kinds) : "question";
  const question = given ?? (await item.shared(kind, { text }));
  const answers = source!["answer"] as string | number | undefined;
  let kept = 0;
  for (let sample = 0; sample < samples && kept < keep; sample++) {
    try {
      const { answer, stage } = await item.ask(kind === "extract" ? "passage" : "answer", { text, question }, { sample });
      const said = answer.text.trim();
      const stages: Stage[] = [stage];
      const verdicts: Record<string, Verdict> = {
        ...(await item.judge(["plain", "text"], { messages: [{ role: "assistant", content: said }] })),
      };
      if (kind === "extract")
        verdicts["extract"] = verdict(flat(text).includes(flat(said)) ? [] : ["passage does not stand in the document"]);
      else if (answers !== undefined) Object.assign(verdicts, await item.judge(["answer"], { response: said, answer: answers }));
      else if (check && Object.values(verdicts).every(({ ok }) => ok)) {
        const judged = await supported(item, { text, question, answer: said }, sample);
        verdicts["check"] = judged.verdict;
        stages.push(judged.stage);
      }
      const { documents, position } = await compose(item, shelf, place, question, said, target);
      const content = contextOf(item, documents, question);
      const tokens = shelf.count(content);
      verdicts["length"] = verdict(
        tokens < least || tokens > most
          ? [`length outside the limits: ${tokens} tokens of ${documents.length} documents; give more seeds, or other limits`]
          : [],
      );
      const messages = [
        { role: "user", content },
        { role: "assistant", content: said },
      ];
      const facts = { kind, question, documents: documents.length, position, tokens };
      if (item.settle(sample, { messages, ...(answers === undefined ? {} : { answer: answers }) }, verdicts, { stages, facts }))
        kept++;
    } catch (error) {
      if (!(error instanceof Dropped)) throw error;
      item.drop(sample, error.message, error.text);
    }
  }
}

function contextOf(item: Item, documents: readonly Document[], question: string): string {
  const values: Readonly<Record<string, string>> = {
    count: String(documents.length),
    documents: documents.map(framed).join("\n\n"),
    question,
  };
  return item.random
    .pick(item.shop.templates["context"]!)
    .replace(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole);
}
