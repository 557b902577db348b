// Where pulled files are kept: what a runtime brings.
import type { HubFile } from "./choose.ts";

/** A blob being written, with its lock held. */
export interface Writing {
  /** Bytes there already: what an earlier try left. */
  readonly at: number;
  take(bytes: Uint8Array): Promise<void>;
  /** Begins anew. */
  restart(): Promise<void>;
  /** Compares the hash and puts the blob in place. Where it is another's, rejects with "io", and begins anew. */
  finish(): Promise<void>;
  /** Lets go; what was written stays for the next try. */
  close(): Promise<void>;
}

/** What a repository holds of a revision. */
export interface Held {
  readonly commit: string;
  readonly files: readonly string[];
}

export interface Store {
  /** Whether a blob is there, whole. */
  has(repo: string, file: HubFile): Promise<boolean>;
  /** Opens a blob for writing; undefined where somebody else has completed it meanwhile. `waits` is called while another process writes. */
  write(repo: string, file: HubFile, waits: () => void, signal?: AbortSignal): Promise<Writing | undefined>;
  /** Refuses with "io" where `bytes` more do not fit. */
  reserve(bytes: number): Promise<void>;
  /** Names a blob in a snapshot. */
  link(repo: string, commit: string, file: HubFile): Promise<void>;
  /** Says where a revision is, after all its files are there. */
  point(repo: string, revision: string, commit: string): Promise<void>;
  /** What is there of a revision; undefined when it was never pulled. */
  held(repo: string, revision: string): Promise<Held | undefined>;
  /** A text file of a snapshot; undefined when it is not there. */
  text(repo: string, commit: string, path: string): Promise<string | undefined>;
  /** The address of a file or ("") a folder of a snapshot, as loading takes it. */
  where(repo: string, commit: string, path: string): string;
}
