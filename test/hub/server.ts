// The hub of hub.ts for the length of a test file.
import { afterAll } from "vitest";
import { openHub } from "./hub.ts";

export * from "./hub.ts";

export async function startHub(...args: Parameters<typeof openHub>): ReturnType<typeof openHub> {
  const hub = await openHub(...args);
  afterAll(hub.close);
  return hub;
}
