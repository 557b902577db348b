// A sandbox's process in Bun. Its first message says what it is for.
import process from "node:process";
import type { SandboxJob } from "../data/verify/code.ts";
import { runInside } from "../data/verify/inside.ts";
import type { WorkerSetup } from "../data/verify/sandbox.ts";

const answer = process.send!.bind(process);
const listen = process.on.bind(process);
// The one who asked is gone: nothing is left to do.
const { exit } = process;
listen("disconnect", () => exit(0));
process.once("message", (setup) => {
  void runInside(
    setup as WorkerSetup,
    (message) => void answer(message),
    (handler) => void listen("message", (job) => handler(job as SandboxJob)),
  );
});
