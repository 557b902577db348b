// The suite as an edge worker: GET / runs it and answers with the list of results. ?url=… names a model to fetch.
import * as door from "cpm-wasm";
import { bytes, expected } from "./given.mjs";
import { runSuite } from "./suite.mjs";

export default {
  async fetch(request) {
    const url = new URL(request.url).searchParams.get("url");
    const surroundings = {
      bytes,
      expected,
      threadsExpected: false,
      workerExpected: false,
      relaxedExpected: true,
      inputs: url ? { "a URL": url } : {},
    };
    return Response.json(await runSuite(door, surroundings));
  },
};
