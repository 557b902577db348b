// The constraints of an engine: automata over its vocabulary, each with one compiled grammar at a time.
import type { Machine } from "../constrain/machine.ts";
import { Automaton, type Constraint } from "../decode/constrain.ts";
import { CpmError } from "../errors.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import type { EngineHost } from "../wasm/host.ts";

/** A compiled grammar on its way to the engine. Equal ids mean equal grammars. */
export interface ConstraintRequest {
  readonly id: string;
  /** Machine.tables. */
  readonly tables: ArrayBuffer;
  readonly paths: readonly string[];
  readonly states: number;
}

/** Automata that stay when nobody uses them. */
const IDLE = 2;
/** Automata in all. A machine and a vocabulary of 73,000 tokens take about 8 MiB. */
const MOST = 64;
/** States met from which on an automaton that is taken again forgets them. */
const CROWDED = 50_000;

interface Entry {
  id: string;
  readonly automaton: Promise<Automaton>;
  users: number;
  used: number;
}

/** A constraint in use; `release` it once. */
export interface ConstraintLease {
  readonly constraint: Constraint;
  release(): void;
}

/** Runs with equal grammars share an automaton: its states are values. */
export class Constraints {
  readonly #host: EngineHost;
  readonly #table: PieceTable;
  readonly #stop: readonly number[];
  readonly #entries: Entry[] = [];
  #clock = 0;

  constructor(host: EngineHost, table: PieceTable, stop: readonly number[]) {
    this.#host = host;
    this.#table = table;
    this.#stop = stop;
  }

  /** Rejects with "out-of-memory" where the grammar does not fit, "unsupported" where it is too ambiguous to begin with. */
  async lease({ id, tables, paths, states }: ConstraintRequest): Promise<ConstraintLease> {
    let entry = this.#entries.find((e) => e.id === id);
    const fresh = entry === undefined;
    entry ??= this.#free();
    entry.users++;
    entry.used = ++this.#clock;
    if (fresh) entry.id = id;
    try {
      const automaton = await entry.automaton;
      if (automaton.machineId !== id || (entry.users === 1 && automaton.usage.states > CROWDED)) {
        const machine: Machine = { tables: new Int32Array(tables), paths, states };
        automaton.load(machine, id);
      }
      let leased = true;
      const release = () => {
        if (leased) this.#release(entry);
        leased = false;
      };
      return { constraint: automaton, release };
    } catch (error) {
      this.#drop(entry);
      throw error;
    }
  }

  /** An automaton that nobody uses, or another one. */
  #free(): Entry {
    const idle = this.#entries.filter((e) => e.users === 0);
    if (idle.length >= IDLE) return idle.reduce((a, b) => (a.used < b.used ? a : b));
    if (this.#entries.length >= MOST)
      throw new CpmError("busy", `${MOST} constraints are in use at once; wait for one of them, or use equal ones`);
    const module = this.#host.module("constrain");
    const automaton = module.then((m) => Automaton.create(m, this.#table, this.#stop));
    automaton.catch(() => {});
    const entry: Entry = { id: "", automaton, users: 0, used: 0 };
    this.#entries.push(entry);
    return entry;
  }

  #release(entry: Entry): void {
    entry.users--;
    const idle = this.#entries.filter((e) => e.users === 0);
    if (idle.length > IDLE) this.#drop(idle.reduce((a, b) => (a.used < b.used ? a : b)));
  }

  #drop(entry: Entry): void {
    const at = this.#entries.indexOf(entry);
    if (at >= 0) this.#entries.splice(at, 1);
  }
}
