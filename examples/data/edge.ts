// Scores a page where it is requested: a folded classifier (some MB), no other download. For workerd and the like.
//   GET /?url=https://example.org/page
import { type Classifier, decide, loadClassifier, normalise } from "cpm-wasm/data";
import model from "./quality.fold";

let loaded: Promise<Classifier> | undefined;

const textOf = (html: string): string =>
  html
    .replace(/<(script|style)[\s\S]*?<\/\1>/gi, " ")
    .replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ");

export default {
  async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url).searchParams.get("url");
    const text = url === null ? await request.text() : textOf(await (await fetch(url)).text());
    loaded ??= loadClassifier(model);
    const classifier = await loaded;
    return Response.json(decide(classifier.score(normalise(text).replace(/[\r\n]+/g, " "))));
  },
};
