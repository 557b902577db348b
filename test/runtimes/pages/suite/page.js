// The suite on a page. The address's query has the surroundings as JSON; results are posted to /results.
import * as door from "cpm-wasm";
import { bytes, expected } from "../../given.mjs";
import { runSuite } from "../../suite.mjs";

const surroundings = JSON.parse(new URLSearchParams(location.search).get("surroundings"));
const post = (result) => fetch("/results", { method: "POST", body: JSON.stringify(result) });
const inputs = {
  "the embedded model's URL": door.defaultModel,
  "a relative address": door.defaultModel.pathname,
  "a File": new File([bytes], "my model.gguf"),
  "a blob: URL": URL.createObjectURL(new Blob([bytes])),
};

const posts = [];
try {
  if (crossOriginIsolated !== surroundings.threadsExpected) throw new Error(`crossOriginIsolated is ${crossOriginIsolated}`);
  await runSuite(door, { ...surroundings, bytes, expected, inputs }, (result) => posts.push(post(result)));
} catch (error) {
  posts.push(post({ title: "the page runs", ok: false, error: String(error?.stack ?? error) }));
}
await Promise.all(posts);
await post({ end: true });
