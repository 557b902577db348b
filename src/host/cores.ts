// How many lanes help: of two hyperthreads only one does, since both would wait for the same multiplier.
import { readdir, readFile } from "node:fs/promises";
import process from "node:process";

/** A guess from the number of logical cores: x64 machines from four up mostly have two threads a core. */
export const likelyCores = (logical: number): number =>
  process.arch === "x64" && process.platform !== "darwin" && logical >= 4 ? logical >> 1 : logical;

export const topology = new URL("file:///sys/devices/system/cpu/");

/** Physical cores among `logical` ones that this process may use, as Linux tells them; elsewhere likelyCores. */
export async function physicalCores(logical: number): Promise<number> {
  try {
    const names = (await readdir(topology)).filter((name) => /^cpu\d+$/.test(name));
    const siblings = await Promise.all(
      names.map((name) => readFile(new URL(`${name}/topology/thread_siblings_list`, topology), "utf8")),
    );
    const perCore = names.length / new Set(siblings).size;
    return Math.max(1, Math.round(logical / perCore));
  } catch {
    return likelyCores(logical);
  }
}
