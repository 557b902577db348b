// The handler inside workerd, over the embedded model.
import { load } from "cpm-wasm";
import bytes from "cpm-wasm/models/stories-q4_0.gguf";
import { createHandler } from "cpm-wasm/server";

let handler;
export default {
  fetch(request, _env, context) {
    handler ??= createHandler({ stories: { load: () => load(bytes, { contextSize: 2048 }) } });
    return handler(request, context);
  },
};
