// The package on a page as one script that needs no other file: workers start from texts, and modules are texts.
import { openDoor } from "../door/door.ts";
import { forms } from "../door/forms.ts";
import * as here from "../door/here.ts";
import { browserHost } from "./browser.host.ts";
import laneScript from "./browser.lane.text.js";
import engineScript from "./embedded.browser.worker.text.js";
import { modulesOf } from "./embedded.modules.ts";
import { texts } from "./embedded.texts.ts";
import { startWeb, webEngine, webLane } from "./web.ts";

export * from "../index.ts";

const addresses = new Map<string, string>();

/** A worker from a text. Its address is kept: further workers start from it. */
function fromText(script: string): Worker {
  let address = addresses.get(script);
  if (address === undefined) {
    address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    addresses.set(script, address);
  }
  return startWeb(address);
}

const module = modulesOf(texts);

const door = openDoor({
  here: () => here,
  forms,
  host: () => browserHost(module, false),
  startWorker: async () => {
    const engine = webEngine(
      () => fromText(engineScript),
      () => webLane(() => fromText(laneScript)),
    );
    engine.post(texts);
    return engine;
  },
  base: () => globalThis.location?.href,
});

/** Loads a model from a URL, Blob, bytes or files of your own; {@link Door.load} says how and what it throws. */
export const load = door.load;
/** Metadata, tensors and memory plan of a model file; see {@link Door.inspect}. */
export const inspect = door.inspect;
/** The tokenizer of a file alone; see {@link Door.loadTokenizer}. */
export const loadTokenizer = door.loadTokenizer;
