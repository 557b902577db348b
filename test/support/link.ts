// A worker that is no thread: messages are structured clones, delivered later, none after its end.
import type { EngineWorker } from "../../src/port/client.ts";
import type { Port } from "../../src/port/messages.ts";

export interface Link {
  readonly worker: EngineWorker;
  readonly inside: Port;
  /** Messages to the worker, before it gets them. */
  readonly sent: { type: string }[];
  terminated: number;
  die(cause: Error): void;
}

export function link(): Link {
  let toWorker: (message: unknown) => void = () => {};
  let toClient: (message: unknown) => void = () => {};
  let onDeath: (cause: Error) => void = () => {};
  const later = (deliver: (message: unknown) => void, message: unknown, transfer: readonly ArrayBuffer[] = []) => {
    const copy = structuredClone(message, { transfer: [...transfer] });
    setImmediate(() => {
      if (!state.terminated) deliver(copy);
    });
  };
  const worker: EngineWorker = {
    post(message, transfer) {
      state.sent.push(message as { type: string });
      later((m) => toWorker(m), message, transfer);
    },
    listen: (handler) => void (toClient = handler),
    onDeath: (handler) => void (onDeath = handler),
    lane: () => {
      throw new Error("no lanes here");
    },
    terminate: () => void state.terminated++,
  };
  const inside: Port = {
    post: (message, transfer) => later((m) => toClient(m), message, transfer),
    listen: (handler) => void (toWorker = handler),
  };
  const state: Link = { worker, inside, sent: [], terminated: 0, die: (cause) => onDeath(cause) };
  return state;
}
