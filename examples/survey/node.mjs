// A report about a query from a list of documents, written by an endpoint or a model file.
//   npm install @orama/orama && node examples/survey/node.mjs model.gguf "How rice is cooked" documents.jsonl > report.md
import { readFile } from "node:fs/promises";
import { load } from "cpm-wasm";
import { openCorpus, outline, toMarkdown, writeSurvey } from "cpm-wasm/survey";

const [path, query, file] = process.argv.slice(2);
const documents = (await readFile(file, "utf8"))
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));
const corpus = await openCorpus(documents);
const model = await load(path, { contextSize: 8192 });
try {
  const { survey, sources } = await writeSurvey(model, query, {
    search: corpus.search,
    onTurn: (state, note) => console.error(state.survey ? outline(state.survey) : note),
  });
  if (survey) process.stdout.write(toMarkdown(survey, sources));
} finally {
  await model.dispose();
}
