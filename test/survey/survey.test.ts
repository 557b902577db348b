// The survey: exact trees from scripted answers, nothing unknown cited, malformed answers that end, a run that is killed and gone on with.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { compileConstraint } from "../../src/constrain/compile.ts";
import { load } from "../../src/host/node.ts";
import {
  type Allowed,
  httpRetriever,
  openCorpus,
  type Passage,
  readTurn,
  type SurveyState,
  toLatex,
  toMarkdown,
  turnGrammar,
  writeSurvey,
} from "../../src/survey/index.ts";
import { script } from "../agent/rig.ts";
import { story } from "../cli/command.ts";
import { shared } from "../support/golden.ts";
import { whereFile } from "../support/where.ts";

const passages: Passage[] = [
  {
    key: "cook2001",
    title: "Cooking rice & beans",
    text: "Rice takes twenty minutes; beans take longer.",
    author: "A. Cook",
    year: "2001",
  },
  { key: "salt_1", title: "Salt: 100% of it", text: "Salt is added to rice at the end.", url: "https://example.org/salt" },
  { key: "wind.3", title: "Wind", text: "Wings in wind." },
];
const turn = (answer: unknown, call: unknown = {}) =>
  `<think>Now.</think><answer>${JSON.stringify(answer)}</answer><think>Next.</think><tool_call>${JSON.stringify(call)}</tool_call>`;
const search = (...query: string[]) => ({ name: "search_engine", arguments: { query } });
const first = `<think>Look.</think><tool_call>${JSON.stringify(search("rice", "salt"))}</tool_call>`;
const plan = turn(
  {
    update: "plan",
    content: {
      title: "Rice_and salt",
      sections: [
        { title: "Rice", plan: "time", subsections: [{ title: "Beans", plan: "longer" }] },
        { title: "Salt", plan: "when" },
      ],
    },
  },
  search("beans"),
);
const write = (update: string, content: string, call: unknown = {}) => turn({ update, content }, call);
const lines = [
  first,
  plan,
  write("section-1", "Rice takes time \\cite{cook2001}."),
  turn({}, search("salt")),
  write("section-1/subsection-1", "Beans take longer \\cite{cook2001,salt_1}; {x} 50% $5."),
  write("section-2", "Salt comes last \\cite{salt_1}."),
  write("introduction", "Why rice."),
  write("abstract", "On rice."),
  write("conclusion", "Eat.", { name: "finalize", arguments: {} }),
];

test("a scripted model gives the exact tree, document and bibliography", async () => {
  const { search: find } = await openCorpus(passages);
  const notes: string[] = [];
  const state = await writeSurvey(script(...lines), "rice", { search: find, onTurn: (_, note) => notes.push(note) });
  expect(notes).toEqual([
    "searched for rice, salt",
    "plan",
    "section-1",
    "searched for salt",
    "section-1/subsection-1",
    "section-2",
    "introduction",
    "abstract",
    "conclusion",
  ]);
  expect(state.ended).toBe("finished");
  expect(state.survey).toEqual({
    title: "Rice_and salt",
    sections: [
      {
        title: "Rice",
        plan: "time",
        content: "Rice takes time \\cite{cook2001}.",
        subsections: [{ title: "Beans", plan: "longer", content: "Beans take longer \\cite{cook2001,salt_1}; {x} 50% $5." }],
      },
      { title: "Salt", plan: "when", content: "Salt comes last \\cite{salt_1}." },
    ],
    introduction: "Why rice.",
    abstract: "On rice.",
    conclusion: "Eat.",
  });
  expect(toMarkdown(state.survey!, state.sources)).toBe(`# Rice_and salt

## Abstract

On rice.

## Introduction

Why rice.

## Rice

Rice takes time [1].

### Beans

Beans take longer [1, 2]; {x} 50% $5.

## Salt

Salt comes last [2].

## Conclusion

Eat.

## References

1. A. Cook. *Cooking rice & beans*. 2001. (cook2001)
2. *Salt: 100% of it*. https://example.org/salt. (salt_1)
`);
  const { tex, bib } = toLatex(state.survey!, state.sources, "out");
  expect(tex).toContain("\\title{Rice\\_and salt}");
  expect(tex).toContain("Beans take longer \\cite{ref-1,ref-2}; \\textbraceleft{}x\\textbraceright{} 50\\% \\$5.");
  expect(tex).toContain("\\bibliography{out}");
  expect(bib).toContain(
    "@misc{ref-1,\n  title = {{Cooking rice \\& beans}},\n  author = {A. Cook},\n  year = {2001},\n  note = {cook2001}\n}",
  );
});

test("killed behind any turn and gone on with, it is the same document", async () => {
  const { search: find } = await openCorpus(passages);
  const whole = await writeSurvey(script(...lines), "rice", { search: find });
  for (let kill = 1; kill < lines.length; kill++) {
    let saved = "";
    const killed = writeSurvey(script(...lines), "rice", {
      search: find,
      onTurn: (state) => {
        saved = JSON.stringify(state);
        if (state.turn === kill) throw new Error("killed");
      },
    });
    await expect(killed).rejects.toThrow("killed");
    const state = JSON.parse(saved) as SurveyState;
    expect(await writeSurvey(script(...lines.slice(kill)), "rice", { search: find, state })).toEqual(whole);
  }
  await expect(writeSurvey(script(...lines), "beans", { search: find, state: whole })).rejects.toMatchObject({
    code: "bad-input",
  });
});

/** Answers to the turn that writes section-1, abstract and the like, each wrong in one way. */
const malformed = [
  "",
  "Sure! Here is the survey.",
  "<think>only thinking",
  "<answer>{}",
  "<answer></answer><tool_call>{}</tool_call>",
  "<answer>{</answer><tool_call>{}</tool_call>",
  "<answer>[]</answer><tool_call>{}</tool_call>",
  "<answer>null</answer><tool_call>{}</tool_call>",
  turn("a text"),
  write("section-3", "x"),
  write("section-0", "x"),
  write("section-01", "x"),
  write("section-1/subsection-2", "x"),
  write("section-1/subsection-1/subsection-1", "x"),
  write("title", "x"),
  write("plan", "x"),
  write("__proto__", "x"),
  write("SECTION-1", "x"),
  turn({ update: 1, content: "x" }),
  turn({ update: "section-1" }),
  turn({ update: "section-1", content: { title: "x" } }),
  write("section-1", "   "),
  write("section-1", "\\cite{nobody1999}"),
  write("section-1", "\\cite{cook2001,nobody}"),
  write("section-1", "\\cite{}"),
  write("section-1", "\\cite{cook2001"),
  write("section-1", "\\cite{COOK2001}"),
  write("section-1", "x", { name: "finalize", arguments: {} }),
  write("section-1", "x", { name: "rm", arguments: {} }),
  write("section-1", "x", { name: "search_engine", arguments: { query: "rice" } }),
  write("section-1", "x", []),
  '{"thought": "x", "update": "section-9", "content": "x"}',
];

test("malformed answers are asked for again, cite nothing, and end the run where they do not stop", async () => {
  expect(malformed.length).toBeGreaterThanOrEqual(30);
  const { search: find } = await openCorpus(passages);
  for (const wrong of malformed) {
    const again = await writeSurvey(script(first, plan, wrong, ...lines.slice(2)), "rice", { search: find });
    expect({ wrong, ended: again.ended, turns: again.turn }).toEqual({ wrong, ended: "finished", turns: lines.length + 1 });
    const always = script(first, plan, wrong);
    const ended = await writeSurvey(always, "rice", { search: find });
    expect({ wrong, ended: ended.ended, turns: ended.turn, survey: ended.survey!.sections[0]!.content }).toEqual({
      wrong,
      ended: "malformed",
      turns: 7,
      survey: undefined,
    });
    expect(JSON.stringify(always.asked.at(-1)!.messages)).toContain("Your last answer could not be used");
  }
  // Nothing but searches ends, too: two turns in a row must not write nothing.
  const idle = await writeSurvey(script(first, plan, turn({}, search("rice"))), "rice", { search: find });
  expect(idle).toMatchObject({ ended: "malformed", turn: 8 });
  expect((await writeSurvey(script(first), "rice", { search: find, maxTurns: 3 })).ended).toBe("turns");
});

test("the grammar takes what may be written and nothing else: no unknown key, no other position", async () => {
  const allowed: Allowed = {
    kind: "write",
    positions: ["section-1", "conclusion"],
    keys: ["cook2001", "salt_1"],
    skip: true,
    last: false,
  };
  const accepts = async (text: string, given = allowed) => {
    const model = await load(story, { worker: false, threads: 1, contextSize: 1024 });
    try {
      const { text: made } = await model.generate("x", {
        grammar: turnGrammar(given),
        temperature: 0,
        maxTokens: 900,
        logitBias: {},
      });
      return [text, made];
    } finally {
      await model.dispose();
    }
  };
  expect(() => compileConstraint({ grammar: turnGrammar(allowed) })).not.toThrow();
  for (const kind of ["search", "plan", "write"] as const)
    for (const last of [false, true]) {
      const given = { ...allowed, kind, last, skip: !last };
      expect(() => compileConstraint({ grammar: turnGrammar(given) })).not.toThrow();
    }
  const [, made] = await accepts("x");
  // Whole or cut off by maxTokens; whole ones can be read.
  if (made!.endsWith("</tool_call>")) expect(() => readTurn(made!, allowed)).not.toThrow();
  else expect(made).toMatch(/^<think>/);
});

test("a real run with the embedded model ends, and cites only what was found", async () => {
  const { search: find } = await openCorpus(passages);
  const model = await load(story, { worker: false, threads: 1, contextSize: 4096 });
  try {
    const state = await writeSurvey(model, "rice", { search: find, maxTurns: 12, generate: { maxTokens: 2000 } });
    expect(["finished", "turns", "malformed"]).toContain(state.ended);
    const text = state.survey ? toMarkdown(state.survey, state.sources) : "";
    console.log(
      `the embedded model: ${state.turn} turns, ${state.ended}, ${text.length} characters; its prose is a child's story`,
    );
    for (const [, keys] of JSON.stringify(state.survey ?? {}).matchAll(/\\cite\{([^}]*)\}/g))
      for (const key of keys!.split(",")) expect(state.sources.map((source) => source.key)).toContain(key);
  } finally {
    await model.dispose();
  }
});

const cranfield = shared("suites/cranfield/docs.jsonl.gz");
whereFile(cranfield, "suites/cranfield")(
  "Cranfield: nDCG@10 is the BM25 reference's, before and after the index was saved",
  async () => {
    const read = (name: string) => readFileSync(shared(`suites/cranfield/${name}`)!);
    const rows = <T>(text: string) =>
      text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as T);
    const documents = rows<{ id: number; title: string; text: string }>(gunzipSync(read("docs.jsonl.gz")).toString());
    const queries = rows<{ text: string }>(read("queries.jsonl").toString());
    const gains = new Map<number, Map<string, number>>();
    for (const line of read("qrels.csv").toString().trim().split("\n").slice(1)) {
      const [query, document, code] = line.split(",").map(Number) as [number, number, number];
      gains.set(query, (gains.get(query) ?? new Map<string, number>()).set(`${document}`, code < 0 ? 0 : 5 - code));
    }
    const begun = performance.now();
    const made = await openCorpus(documents.map(({ id, title, text }) => ({ key: `${id}`, title, text })));
    const indexed = performance.now();
    const ndcg = async (corpus: typeof made) => {
      let sum = 0;
      for (const [i, { text }] of queries.entries()) {
        const gain = gains.get(i + 1) ?? new Map<string, number>();
        const dcg = (list: readonly number[]) => list.reduce((total, value, rank) => total + value / Math.log2(rank + 2), 0);
        const found = (await corpus.search([text], 10)).map(({ key }) => gain.get(key) ?? 0);
        const ideal = dcg([...gain.values()].sort((a, b) => b - a).slice(0, 10));
        sum += ideal ? dcg(found) / ideal : 0;
      }
      return sum / queries.length;
    };
    const score = await ndcg(made);
    console.log(
      `Cranfield: nDCG@10 ${score.toFixed(4)}; ${(indexed - begun).toFixed(0)} ms to index 1400 documents, ${((performance.now() - indexed) / queries.length).toFixed(1)} ms a query`,
    );
    expect(score).toBeGreaterThanOrEqual(0.5);
    expect(await ndcg(await openCorpus({ saved: made.save() }))).toBe(score);
  },
);

test("an HTTP retriever, passages and saved indexes that are none", async () => {
  let asked: unknown;
  const answer =
    (value: unknown, status = 200) =>
    async (_: unknown, init?: RequestInit) => {
      asked = JSON.parse(init!.body as string);
      return new Response(JSON.stringify(value), { status });
    };
  const found = [{ bibkeys: ["a1", "<bad key>"], titles: ["A", "B"], summarys: ["text a", "text b"], done: false }];
  expect(await httpRetriever("http://r", { fetch: answer(found) as never })(["x", "y"], 5)).toEqual([
    { key: "a1", title: "A", text: "text a" },
  ]);
  expect(asked).toEqual({ tool_calls: [{ name: "search_engine", arguments: { query: ["x", "y"] } }], topk: 5 });
  for (const fetch of [answer({}, 200), answer([], 500), async () => Promise.reject(new Error("down"))])
    await expect(httpRetriever("http://r", { fetch: fetch as never })(["x"], 5)).rejects.toMatchObject({ code: "io" });
  for (const bad of [
    [{ key: "a" }],
    [{ key: "a b", title: "", text: "" }],
    [passages[0], passages[0]],
    { saved: "{}" },
    { saved: "no" },
  ])
    await expect(openCorpus(bad as never)).rejects.toMatchObject({ code: "bad-input" });
  expect(await (await openCorpus(passages)).search(["", "constructor", "rice"], 5)).toEqual([passages[0], passages[1]]);
});
