// The verifiers in pages.
export * from "../data/verify/index.ts";
export { createSandbox } from "./sandbox.browser.ts";
