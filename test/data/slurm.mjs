// Shards under a real Slurm of one host: munged, slurmctld and slurmd of its own in a temporary folder, on loopback ports, run
// examples/data/slurm-array.sh as an array. Tasks are killed (SIGKILL) in the middle and queued again, others queued again while they run and
// after they ended, and the controller is killed once; the files must be those of single processes, byte for byte.
//   node test/data/slurm.mjs [--shards 16] [--records 200000] [--kills 6]      short: --shards 4 --records 40000 --kills 1
// Needs Debian's slurmctld, slurmd, slurm-client and munge; says why where they cannot run, and skips.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    shards: { type: "string", default: "16" },
    records: { type: "string", default: "200000" },
    kills: { type: "string", default: "6" },
  },
});
const [shards, count, wanted] = [values.shards, values.records, values.kills].map(Number);
const root = fileURLToPath(new URL("../../", import.meta.url));
const main = join(root, "dist/cli/main.js");
const script = join(root, "examples/data/slurm-array.sh");
const folder = mkdtempSync(join(tmpdir(), "cpm-slurm-"));
const at = (...path) => join(folder, ...path);
// Daemons ask that others cannot write here.
chmodSync(folder, 0o755);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const daemons = [];

async function end(status) {
  for (const { child } of daemons.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
  }
  // Steps that outlive slurmd are ours by their command line.
  for (const pid of processes(folder)) kill(pid);
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  process.exit(status);
}

async function skip(why) {
  console.log(`skipped: shards under Slurm (${why})`);
  console.log("1 passed, 0 failed");
  await end(0);
}

function kill(pid) {
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch {
    return false;
  }
}

/** Processes whose command lines hold all of some texts. */
function processes(...texts) {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
        return texts.every((text) => line.includes(text));
      } catch {
        return false;
      }
    })
    .map(Number);
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

function daemon(name, args) {
  const child = spawn(name, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  const started = { name, child, said: "" };
  child.stderr.setEncoding("utf8").on("data", (text) => {
    started.said = (started.said + text).slice(-2000);
  });
  child.on("error", (error) => {
    started.said += error.message;
  });
  daemons.push(started);
  return started;
}

const env = {
  ...process.env,
  SLURM_CONF: at("slurm.conf"),
  CPM: `${process.execPath} ${main}`,
  PATH: `${process.env.PATH}:/usr/sbin`,
};
const run = (name, ...args) => {
  const { status, stdout, stderr, error } = spawnSync(name, args, { env, encoding: "utf8", cwd: folder, timeout: 60_000 });
  return { ok: status === 0, out: stdout ?? "", err: (error?.message ?? stderr ?? "").trim() };
};

/** Waits for a condition; the limit is only there so that a daemon that cannot start is told. */
async function until(holds, seconds) {
  for (const last = Date.now() + seconds * 1000; ; await wait(100)) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > last) return undefined;
  }
}

// Whatever hangs is told, and nothing is left running.
setTimeout(() => {
  console.log("FAILED: Slurm stands still after 20 minutes\n0 passed, 1 failed");
  void end(1);
}, 1_200_000).unref();
for (const failure of ["uncaughtException", "unhandledRejection"])
  process.on(failure, (error) => {
    console.log(`FAILED: ${error?.stack ?? error}\n0 passed, 1 failed`);
    void end(1);
  });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void end(1));

const missing = ["munged", "slurmctld", "slurmd", "sbatch"].filter(
  (name) => spawnSync("sh", ["-c", `command -v ${name}`], { env }).status !== 0,
);
if (missing.length > 0) await skip(`${missing.join(", ")} not installed`);

for (const name of ["state", "spool", "munge"]) mkdirSync(at(name), { mode: 0o700 });
chmodSync(at("munge"), 0o711);
writeFileSync(at("munge/key"), randomBytes(64), { mode: 0o600 });
const socket = at("munge/socket");
const munged = daemon("munged", [
  ...["--foreground", "--force", "--num-threads", "2", "--socket", socket, "--key-file", at("munge/key")],
  ...["--pid-file", at("munge/pid"), "--log-file", at("munge/log"), "--seed-file", at("munge/seed")],
]);
if (!(await until(() => run("munge", "--socket", socket, "--no-input").ok, 60)))
  await skip(`munged does not answer: ${munged.said}`);
const [control, node] = [await freePort(), await freePort()];
writeFileSync(
  at("slurm.conf"),
  `ClusterName=cpm
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=${control}
SlurmdPort=${node}
SlurmUser=${userInfo().username}
SlurmdUser=${userInfo().username}
AuthType=auth/munge
# Tasks that are queued again wait as long as their old credentials live.
AuthInfo=socket=${socket},cred_expire=5
StateSaveLocation=${at("state")}
SlurmdSpoolDir=${at("spool")}
SlurmctldPidFile=${at("slurmctld.pid")}
SlurmdPidFile=${at("slurmd.pid")}
SlurmctldLogFile=${at("slurmctld.log")}
SlurmdLogFile=${at("slurmd.log")}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
KillWait=2
NodeName=here NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
`,
);
// Credentials of munge are made for its usual socket unless it is named.
env.MUNGE_SOCKET = socket;
const controller = () => daemon("slurmctld", ["-D"]);
let ctld = controller();
const slurmd = daemon("slurmd", ["-D", "-N", "here"]);
const idle = await until(() => {
  if ([ctld, slurmd].some(({ child }) => child.exitCode !== null)) return "ended";
  return /idle/.test(run("sinfo", "-h", "-o", "%T").out) && "idle";
}, 120);
if (idle !== "idle") await skip(`Slurm does not start: ${ctld.said.trim() || slurmd.said.trim() || run("sinfo").err}`);

let state = 1;
const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
const texts = [];
for (let id = 0; id < count; id++) {
  const again = id > 100 && next() < 0.2;
  const text = again ? texts[id - 100] : Array.from({ length: 40 }, () => `word${Math.floor(next() ** 3 * 3000)}`).join(" ");
  texts.push(text);
}
writeFileSync(at("in.jsonl"), texts.map((text, id) => `${JSON.stringify({ id, text })}\n`).join(""));
const options = ["--dedup", "exact,near", "--signatures", "--dropped"];
for (let i = 0; i < shards; i++)
  execFileSync(process.execPath, [main, "clean", at("in.jsonl"), "-o", at("plain"), ...options, "--shard", `${i}/${shards}`], {
    stdio: "ignore",
  });

const out = at("out");
const submit = (array, ...more) =>
  run("sbatch", "--parsable", `--array=${array}`, `--output=${at("task-%a.log")}`, "--open-mode=append", ...more);
const submitted = submit(`0-${shards - 1}`, script, out, at("in.jsonl"), ...options);
if (!submitted.ok) await skip(`sbatch: ${submitted.err}`);
const job = submitted.out.trim();

const has = (kind, i) => {
  try {
    return readdirSync(out).some((name) => name.startsWith(`${kind}-${String(i).padStart(5, "0")}-of-`));
  } catch {
    return false;
  }
};
const finished = () => Array.from({ length: shards }, (_, i) => i).filter((i) => has("manifest", i));
const stateOf = (i) => /JobState=(\w+)/.exec(run("scontrol", "show", "job", `${job}_${i}`).out)?.[1] ?? "?";
const pending = () => run("squeue", "-h", "-r", "-o", "%i %T").out.trim();

let [kills, requeues, controllers] = [0, 0, 0];
const victims = new Set();
let refused = "";
/** A task that was killed is queued again as soon as Slurm has seen it fail: what an operator or a watcher does. */
const failed = new Set();
for (let rounds = 0; finished().length < shards; rounds++) {
  await wait(20);
  for (let i = 0; i < shards; i++) {
    if (victims.has(i) || has("manifest", i) || !has(".state", i)) continue;
    const pids = processes("clean", out, `--shard ${i}/${shards} `);
    if (pids.length === 0) continue;
    if (kills < wanted) {
      if (!pids.map(kill).some(Boolean)) continue;
      kills++;
      failed.add(i);
      victims.add(i);
    } else if (requeues < Math.ceil(wanted / 2)) {
      const again = run("scontrol", "requeue", `${job}_${i}`);
      if (again.ok) requeues++;
      else refused = again.err;
      victims.add(i);
    }
  }
  if (controllers === 0 && kills >= Math.ceil(wanted / 2)) {
    controllers++;
    // It writes down what it did some seconds later: no task starts meanwhile, or it would start it again beside itself.
    run("scontrol", "hold", job);
    const held = Date.now();
    await until(() => statSync(at("state/job_state"), { throwIfNoEntry: false })?.mtimeMs > held + 1000, 120);
    ctld.child.kill("SIGKILL");
    await new Promise((resolve) => ctld.child.once("exit", resolve));
    ctld = controller();
    await until(() => run("scontrol", "ping").ok, 120);
    run("scontrol", "release", job);
  }
  if (rounds % 25 !== 0) continue;
  for (const i of failed)
    if (stateOf(i) === "FAILED" && run("scontrol", "requeue", `${job}_${i}`).ok) {
      failed.delete(i);
      // It was held, too, if it failed while the others were.
      run("scontrol", "release", `${job}_${i}`);
    }
  if (slurmd.child.exitCode !== null || ctld.child.exitCode !== null) break;
}
await until(() => pending() === "", 300);
// What is done is run again, and does nothing.
run("scontrol", "requeue", `${job}_0`);
run("scontrol", "release", `${job}_0`);
await until(() => pending() !== "", 10);
await until(() => pending() === "", 300);

const names = readdirSync(at("plain")).filter((name) => /^(kept|dropped|errors|signatures|report)-/.test(name));
const differ = names.filter((name) => {
  try {
    return !readFileSync(join(out, name)).equals(readFileSync(at("plain", name)));
  } catch {
    return true;
  }
});
const left = readdirSync(out).filter((name) => name.startsWith(".state"));
// Single shards by hand: their number alone does not tell of how many.
submit("1,3", script, at("wrong"), at("in.jsonl"), ...options);
env.SHARDS = String(shards);
submit("1,3", script, at("named"), at("in.jsonl"), ...options);
await until(() => pending() === "", 300);
const refusal = /set SHARDS/.test(readFileSync(at("task-1.log"), "utf8")) && !existsSync(at("wrong"));
const byHand = ["kept", "signatures"].flatMap((kind) =>
  [1, 3].map((i) => readdirSync(at("plain")).find((name) => name.startsWith(`${kind}-${String(i).padStart(5, "0")}`))),
);
const same = byHand.every(
  (name) => existsSync(at("named", name)) && readFileSync(at("named", name)).equals(readFileSync(at("plain", name))),
);

let bad = 0;
const check = (what, good) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}`);
  if (!good) bad++;
};
check(
  `${shards} shards of ${count} records: ${kills} of ${wanted} tasks killed and queued again, the controller ${controllers} times`,
  kills === wanted && controllers === 1,
);
check(`${requeues} tasks queued again while they ran${refused && ` (${refused})`}, one after it ended`, requeues > 0);
check(
  `${names.length} files, ${differ.length} differ from those of single processes ${differ.slice(0, 3)}`,
  names.length >= 5 * shards && differ.length === 0,
);
check(`no state is left over ${left}`, left.length === 0);
check("single shards are refused without their number of shards, and right with it", refusal && same);
if (bad > 0)
  for (const log of ["slurmctld.log", "slurmd.log"]) console.log(readFileSync(at(log), "utf8").split("\n").slice(-25).join("\n"));
console.log(`${5 - bad} passed, ${bad} failed`);
await end(bad ? 1 : 0);
