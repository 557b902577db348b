// The task of bench/rl.mjs: sums with scratch work, so that answers are of very different lengths, and a model of 0.3M parameters over
// characters that gets some of them right.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { memoryFiles } from "../../dist/file/bytes.js";
import { load } from "../../dist/host/node.js";
import * as wing from "../../dist/host/train.node.js";
import { Tokenizer } from "../../dist/text/tokenizer.js";
import { newGroup } from "../../dist/train/rollout/groups.js";
import { packLessons } from "../../dist/train/rollout/pack.js";
import { uniform } from "../../dist/tunnel/random.js";
import { characterTokenizer } from "../../test/train/rollout/characters.mjs";

const CHARACTERS = "0123456789+=,";

/** `digits`: of the longest numbers. `threads`: of training and of the engine. */
export async function addition({ digits, width = 96, layers = 3, rows = 16, threads = 1, slots = 256 }) {
  const tokenizerFiles = await wing.tokenizerParts(memoryFiles("", characterTokenizer(CHARACTERS)));
  const tokenizer = new Tokenizer(tokenizerFiles.tokenizer);
  const encode = (text) => [...tokenizer.encode(text, { bos: false, eos: false })];
  /** Tokens of the longest right answer, its end among them, and a few more. */
  const longest = 5 * digits + 1 + digits + 1 + 1 + 8;
  const length = 2 * digits + 2 + longest;

  /**
   * "347+058=" and "7851,4501,3040,=405": digits of both numbers, the sum's and what is carried, from the right; then the sum. Numbers of
   * k digits are drawn with k uniform from 1 to `digits`.
   */
  function problem(next) {
    const k = 1 + Math.floor(next() * digits);
    const number = () => Math.floor(next() * 10 ** k);
    const [a, b] = [number(), number()];
    const digit = (x, i) => Math.floor(x / 10 ** i) % 10;
    let [work, carry] = ["", 0];
    for (let i = 0; i < k; i++) {
      const sum = digit(a, i) + digit(b, i) + carry;
      carry = sum > 9 ? 1 : 0;
      work += `${digit(a, i)}${digit(b, i)}${sum % 10}${carry},`;
    }
    const padded = (x) => String(x).padStart(k, "0");
    return { prompt: `${padded(a)}+${padded(b)}=`, work: `${work}=${a + b}`, answer: String(a + b) };
  }
  const prompts = (seed, count) => {
    const next = uniform(seed);
    return Array.from({ length: count }, () => problem(next)).map(({ prompt, answer }) => ({
      tokens: encode(prompt),
      sample: { prompt, answer },
    }));
  };
  /** The answer is what stands behind "="; an answer of another form is worth nothing. */
  const reward = ({ response, answer }) =>
    /^(\d{4},)+=\d+$/.test(response) && response.slice(response.indexOf("=") + 1) === answer ? 1 : 0;

  const made = await wing.scratchModel(
    {
      hidden_size: width,
      num_hidden_layers: layers,
      num_attention_heads: width / 24 > 1 ? 4 : 2,
      num_key_value_heads: width / 24 > 1 ? 4 : 2,
      intermediate_size: 2 * width,
      max_position_embeddings: 256,
      rms_norm_eps: 1e-5,
      scale_emb: 12,
      scale_depth: 1.4,
      dim_model_base: 32,
      tie_word_embeddings: true,
    },
    tokenizerFiles,
    CHARACTERS.length + 1,
  );
  const shape = wing.shapeOfModel(made.model.config, length);
  const machine = () => wing.openTrainingMachine({ threads });
  const weightsOf = (trainer) => wing.folderFiles(made.parts, wing.modelExport(trainer));
  const newEngine = (places = slots, worker = false) =>
    wing.modelEngine(load, { slots: places, contextSize: length, load: { threads, worker } });
  const trainerOf = async (options, weights) => {
    const trainer = await wing.Trainer.create(await machine(), { shape, rows, length, ...options });
    for (const [name, values] of weights ?? []) trainer.set(name, values);
    return trainer;
  };
  const decode = (tokens) => tokenizer.decode([...tokens]);

  /** Share of right answers at temperature 1, and their mean length. */
  async function accuracy(engine, heldOut, seed = 5) {
    const groups = heldOut.map(({ tokens }, i) => newGroup(i, i, tokens, 1, seed));
    const { trajectories } = await engine.advance(
      groups.flatMap((g) => g.answers),
      Number.POSITIVE_INFINITY,
      longest,
    );
    let right = 0;
    for (const [i, t] of trajectories.entries()) {
      const tokens = t.chunks.flatMap((c) => [...c.tokens]);
      right += reward({ response: decode(t.state === "stop" ? tokens.slice(0, -1) : tokens), ...heldOut[i].sample });
    }
    return right / trajectories.length;
  }

  /** Worked examples until `enough` of the answers are right; kept in `file`. */
  async function pretrained({ file, enough = 0.25, most = 6000, peak = 6e-3, onProgress = () => {} }) {
    if (file && existsSync(file))
      return JSON.parse(readFileSync(file, "utf8")).map(([name, base]) => [
        name,
        new Float32Array(Uint8Array.from(Buffer.from(base, "base64")).buffer),
      ]);
    const schedule = { kind: "constant", peak, warmup: 50 };
    const trainer = await trainerOf({ objective: { kind: "lm" }, optimiser: { schedule, mup: true } });
    trainer.initialise(wing.normal(1));
    const next = uniform(1);
    const batch = () => {
      const lessons = [];
      for (let taken = 0, row = 0; row < rows; ) {
        const { prompt, work } = problem(next);
        const [p, w] = [encode(prompt), [...encode(work), 0]];
        if (taken + p.length + w.length > length) {
          [taken, row] = [0, row + 1];
          continue;
        }
        taken += p.length + w.length;
        const chunk = { tokens: Int32Array.from(w), logp: new Float32Array(w.length), policy: 0 };
        const t = { id: "x", group: "x", prompt: Int32Array.from(p), seed: 0, chunks: [chunk], state: "stop" };
        lessons.push({ trajectory: t, advantage: 0, mask: 1 });
      }
      return packLessons(lessons, rows, length).batches[0];
    };
    const heldOut = prompts(98, 256);
    const engine = newEngine();
    for (let step = 1, right = 0; step <= most && right < enough; step++) {
      const { loss } = await trainer.step(batch());
      if (step % 20 !== 0 || step < 100) continue;
      await engine.load(weightsOf(trainer), step);
      right = await accuracy(engine, heldOut);
      onProgress(step, loss, right);
    }
    await engine.close();
    const weights = trainer.trained.map(({ name }) => [name, Float32Array.from(trainer.get(name))]);
    await trainer.close();
    if (file) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, JSON.stringify(weights.map(([name, v]) => [name, Buffer.from(v.buffer).toString("base64")])));
    }
    return weights;
  }

  return { longest, length, prompts, reward, decode, newEngine, trainerOf, weightsOf, accuracy, pretrained };
}
