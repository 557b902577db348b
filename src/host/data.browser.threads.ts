// Threads that train classifiers on a page: workers whose script is carried as a text.
import threaded from "../../wasm/data.mt.wasm.js";
import { hogwild, type TrainWorker } from "../data/hogwild.ts";
import { inlined } from "../wasm/inline.ts";
import laneScript from "./data.browser.lane.text.js";
import { startWeb } from "./web.ts";

function worker(): TrainWorker {
  const address = URL.createObjectURL(new Blob([laneScript], { type: "text/javascript" }));
  const started = startWeb(address);
  const loaded = () => URL.revokeObjectURL(address);
  started.addEventListener("message", loaded, { once: true });
  return {
    post: (message) => started.postMessage(message),
    onMessage: (handler) => started.addEventListener("message", ({ data }) => handler(data)),
    onDeath(handler) {
      started.addEventListener("error", (event) => {
        event.preventDefault();
        loaded();
        handler(new Error(event.message || "its script was refused: the page's Content-Security-Policy needs worker-src blob:"));
      });
    },
    end: () => started.terminate(),
  };
}

export const threads = hogwild({ module: inlined("data.mt", threaded), worker });
