// A sandbox's process in Bun. Its first message says what it is for.
import process from "node:process";
import type { SandboxJob } from "../data/verify/code.ts";
import { runInside } from "../data/verify/inside.ts";
import type { WorkerSetup } from "../data/verify/sandbox.ts";
import { packagesOf } from "./sandbox.packages.ts";

const answer = process.send!.bind(process);
const listen = process.on.bind(process);
// The one who asked is gone: nothing is left to do.
const { exit } = process;
listen("disconnect", () => exit(0));
process.once("message", (message) => {
  const setup = message as WorkerSetup;
  void runInside(
    setup,
    packagesOf(setup),
    (found) => void answer(found),
    (handler) => void listen("message", (job) => handler(job as SandboxJob)),
  );
});
