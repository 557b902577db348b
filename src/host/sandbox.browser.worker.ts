// A sandbox's worker in a page. Its first message says what it is for.
import type { SandboxJob } from "../data/verify/code.ts";
import { runInside } from "../data/verify/inside.ts";
import type { WorkerSetup } from "../data/verify/sandbox.ts";

const answer = globalThis.postMessage.bind(globalThis) as (message: unknown) => void;
const listen = globalThis.addEventListener.bind(globalThis);
listen(
  "message",
  (event) => {
    void runInside((event as MessageEvent<WorkerSetup>).data, answer, (handler) => {
      listen("message", (next) => handler((next as MessageEvent<SandboxJob>).data));
    });
  },
  { once: true },
);
