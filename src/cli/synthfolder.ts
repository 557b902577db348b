// What cpm synth writes: a file for each family under a temporary name until it is whole, a report, a manifest once all is done.
import { createHash } from "node:crypto";
import { type FileHandle, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { type AlpacaRecord, createDeduplicator, type ShareGptRecord, toAlpaca, toShareGpt } from "cpm-wasm/data";
import {
  emptyReport,
  type FamilyName,
  type SynthConfig,
  type Synthesised,
  type SynthRecord,
  type SynthReport,
  settled,
  synthPage,
  synthPicture,
} from "cpm-wasm/synth";
import { replace } from "./cleanoutput.ts";

export const formats = ["messages", "sharegpt", "alpaca"] as const;
export type Format = (typeof formats)[number];

export interface SynthManifest {
  readonly settings: string;
  readonly ended: Synthesised["ended"];
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

const formed = (format: Format, record: SynthRecord): SynthRecord | ShareGptRecord | AlpacaRecord =>
  format === "messages"
    ? record
    : format === "sharegpt"
      ? toShareGpt(record)
      : { ...toAlpaca(record), id: record.id, provenance: record.provenance };

/** A file that gets its name when it is whole. */
class Output {
  readonly #path: string;
  readonly #temporary: string;
  readonly #handle: FileHandle;
  readonly #hash = createHash("sha256");
  #held: string[] = [];
  #size = 0;
  bytes = 0;

  private constructor(path: string, temporary: string, handle: FileHandle) {
    this.#path = path;
    this.#temporary = temporary;
    this.#handle = handle;
  }

  static async begin(path: string): Promise<Output> {
    const temporary = `${path}.${process.pid}.tmp`;
    return new Output(path, temporary, await open(temporary, "w"));
  }

  async line(value: unknown): Promise<void> {
    const text = `${JSON.stringify(value)}\n`;
    this.#held.push(text);
    this.#size += text.length;
    if (this.#size > 1 << 20) await this.#flush();
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.from(this.#held.join(""));
    [this.#held, this.#size] = [[], 0];
    this.#hash.update(bytes);
    this.bytes += bytes.length;
    await this.#handle.appendFile(bytes);
  }

  /** Gives the file its name; its hash. */
  async finish(): Promise<string> {
    await this.#flush();
    await this.#handle.sync();
    await this.#handle.close();
    await rename(this.#temporary, this.#path);
    return this.#hash.digest("hex");
  }

  async discard(): Promise<void> {
    await this.#handle.close().catch(() => {});
    await rm(this.#temporary, { force: true });
  }
}

/** The outputs of one run, or of one shard of it. */
export class SynthFolder {
  readonly #folder: string;
  /** Of reports and manifests: the family, where it is one of several, and the shard. */
  readonly #name: string;
  readonly #suffix: string;

  constructor(folder: string, suffix: string, only: FamilyName | undefined) {
    this.#folder = folder;
    this.#suffix = suffix;
    this.#name = `${only === undefined ? "" : `-${only}`}${suffix}`;
  }

  journal(family: FamilyName): string {
    return join(this.#folder, `${family}${this.#suffix}.journal`);
  }

  /** The report of a run that was finished with these settings. */
  async finished(settings: string): Promise<SynthReport | undefined> {
    try {
      const manifest = JSON.parse(await readFile(join(this.#folder, `manifest${this.#name}.json`), "utf8")) as SynthManifest;
      if (manifest.settings !== settings || manifest.ended === "time") return undefined;
      return JSON.parse(await readFile(join(this.#folder, `report${this.#name}.json`), "utf8")) as SynthReport;
    } catch {
      return undefined;
    }
  }

  /** Writes what was made; the manifest last. */
  async write(
    made: Synthesised,
    config: SynthConfig,
    { settings, format, dropped }: { readonly settings: string; readonly format: Format; readonly dropped: boolean },
  ): Promise<SynthReport> {
    const kinds = config.dedup ?? ["exact", "near"];
    const report: SynthReport = {};
    const files: Record<string, { bytes: number; sha256: string }> = {};
    for (const family of made.families) {
      const names = [`${family}${this.#suffix}.jsonl`, ...(dropped ? [`dropped-${family}${this.#suffix}.jsonl`] : [])];
      const outputs = await Promise.all(names.map((name) => Output.begin(join(this.#folder, name))));
      try {
        const own = (report[family] = emptyReport());
        const dedup = kinds.length ? await createDeduplicator(kinds) : undefined;
        for await (const outcome of settled(made.entries(family), own, dedup)) {
          if (outcome.kept) await outputs[0]!.line(formed(format, outcome.record));
          else await outputs[1]?.line(outcome);
        }
        for (const [i, output] of outputs.entries()) {
          const sha256 = await output.finish();
          files[names[i]!] = { bytes: output.bytes, sha256 };
        }
      } catch (error) {
        await Promise.all(outputs.map((output) => output.discard()));
        throw error;
      }
    }
    await replace(join(this.#folder, `report${this.#name}.json`), `${JSON.stringify(report, null, 2)}\n`);
    await replace(join(this.#folder, `report${this.#name}.svg`), synthPicture(report));
    await replace(join(this.#folder, `report${this.#name}.html`), synthPage(report));
    const manifest: SynthManifest = { settings, ended: made.ended, files };
    await replace(join(this.#folder, `manifest${this.#name}.json`), `${JSON.stringify(manifest, null, 2)}\n`);
    return report;
  }
}
