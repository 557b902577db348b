// The public functions over the sources: with the engine in this thread, and behind a port to a worker that is none.
import { onTestFinished } from "vitest";
import { type Door, openDoor } from "../../src/door/door.ts";
import { forms } from "../../src/door/forms.ts";
import * as here from "../../src/door/here.ts";
import type { Model } from "../../src/door/model.ts";
import type { LoadOptions } from "../../src/door/options.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { openInput } from "../../src/file/open.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { serveEngine } from "../../src/port/server.ts";
import { host } from "./engine.ts";
import { link } from "./link.ts";
import { tinyGguf, tinyModel } from "./tiny.ts";

const single = { ...host, cores: 1 };

export const doors: Readonly<Record<"in the caller's thread" | "behind a port", Door>> = {
  "in the caller's thread": openDoor({ host: () => single, openPath: pathFiles, here: () => here, forms }),
  "behind a port": openDoor({
    here: () => here,
    forms,
    host: () => single,
    openPath: pathFiles,
    async startWorker() {
      const { worker, inside } = link();
      const { startLanes: _, ...alone } = single;
      serveEngine(inside, { ...alone, threadsNote: "a worker of tests" }, (input) => openInput(input, pathFiles));
      return worker;
    },
  }),
};

/** Large enough that a prompt takes many turns of the event loop, small enough for tests. */
export const slowModel = tinyGguf(tinyModel({ layers: 6, hidden: 256, intermediate: 512, heads: 8, kvHeads: 8, headDim: 32 }));
export const promptOf = (length: number): number[] => Array.from({ length }, (_, i) => (i * 37 + 5) % 320);
/** Greedy, and never ends by itself. */
export const endless = { temperature: 0, logitBias: { 2: Number.NEGATIVE_INFINITY }, draft: false } as const;

/** Loads; the model is closed when the test ends. */
export async function open(door: Door, input: ModelInput = slowModel, options: LoadOptions = {}): Promise<Model> {
  const model = await door.load(input, { threads: 1, contextSize: 2048, ...options });
  onTestFinished(() => model.dispose());
  return model;
}
