// A text's quality by a classifier with the labels __label__pos and __label__neg, decided as the published script does.
import { CpmError } from "../errors.ts";
import type { Classifier, Prediction } from "./classifier.ts";
import { type PieceTokenizer, Preprocessor } from "./preprocess.ts";
import type { TokenScorer } from "./tokens.ts";

export interface Decision {
  readonly keep: boolean;
  /** Probability of "pos", at most 1. */
  readonly score: number;
  /** Which classifier judged. */
  readonly language: string;
}

export interface QualityOptions {
  /** One classifier, or one for each language. */
  readonly classifier: Classifier | Readonly<Record<string, Classifier>>;
  /** Makes texts to lines as the published classifiers want them. Absent: texts are lines already, newlines become spaces. */
  readonly tokenizer?: PieceTokenizer | undefined;
  /**
   * Keep what scores at least this: a number, or one for each language. Default: what the classifier's best label is "pos", as
   * published (0.5 with two labels).
   */
  readonly threshold?: number | Readonly<Record<string, number>> | undefined;
  /** Language of a text, one of the classifiers'. Default: "zh" where Han characters make up 30 % of the letters, else "en". */
  readonly language?: ((text: string) => string) | undefined;
}

const POSITIVE = "__label__pos";
const NEGATIVE = "__label__neg";

/** The published decision from the best label and its probability. */
export function decide({ labels, probabilities }: Prediction): { keep: boolean; score: number } {
  // Nothing of the text is known: nothing speaks for it.
  if (labels.length === 0) return { keep: false, score: 0 };
  const score = Math.min(probabilities[0]!, 1);
  return { keep: labels[0] === POSITIVE, score: labels[0] === NEGATIVE ? 1 - score : score };
}

/** "zh" where Han characters make up 30 % of the letters. */
export function languageOf(text: string): string {
  const sample = text.length > 4096 ? text.slice(0, 4096) : text;
  const han = sample.match(/\p{Script=Han}/gu)?.length ?? 0;
  return han > 0 && han >= 0.3 * (sample.match(/\p{L}/gu)?.length ?? 0) ? "zh" : "en";
}

/** Judges texts one by one. */
export class QualityFilter {
  readonly #options: QualityOptions;
  readonly #preprocessor: Preprocessor | undefined;
  readonly #scorers = new Map<Classifier, TokenScorer | undefined>();

  /** @throws CpmError "bad-option" */
  constructor(options: QualityOptions) {
    const bad = (field: string, expected: string) =>
      new CpmError("bad-option", `${field}: expected ${expected}`, { field, expected });
    const { threshold, classifier, tokenizer } = options;
    if (typeof classifier !== "object" || classifier === null) throw bad("classifier", "a classifier, or one for each language");
    for (const value of typeof threshold === "object" ? Object.values(threshold) : [threshold ?? 0.5])
      if (!(typeof value === "number" && value >= 0 && value <= 1)) throw bad("threshold", "numbers from 0 to 1");
    this.#options = options;
    this.#preprocessor = tokenizer ? new Preprocessor(tokenizer) : undefined;
  }

  /** The line that is scored. */
  line(text: string): string {
    return this.#preprocessor ? this.#preprocessor.line(text) : text.replace(/[\r\n]+/g, " ");
  }

  /** @throws CpmError "bad-option" for a language without a classifier */
  judge(text: string): Decision {
    const { classifier, threshold, language: tell = languageOf } = this.#options;
    const single = "score" in classifier && typeof classifier.score === "function";
    const language = single && this.#options.language === undefined ? "" : tell(text);
    const chosen = single ? (classifier as Classifier) : (classifier as Readonly<Record<string, Classifier>>)[language];
    if (!chosen)
      throw new CpmError("bad-option", `classifier: there is none for "${language}"`, { field: "classifier", found: language });
    const { keep, score } = decide(this.#predict(chosen, text));
    const least = typeof threshold === "object" ? threshold[language] : threshold;
    return { keep: least === undefined ? keep : score >= least, score, language };
  }

  /** What the classifier says of the text's line, which is made only where tokens do not suffice. */
  #predict(classifier: Classifier, text: string): Prediction {
    const preprocessor = this.#preprocessor;
    // Whoever brings a classifier of their own may have no more than its score.
    if (!preprocessor || typeof classifier.tokens !== "function") return classifier.score(this.line(text));
    if (!this.#scorers.has(classifier)) this.#scorers.set(classifier, classifier.tokens(preprocessor));
    const ids = preprocessor.ids(text);
    return this.#scorers.get(classifier)?.score(ids) ?? classifier.score(preprocessor.lineOf(ids));
  }
}

export interface TunedThreshold {
  readonly threshold: number;
  /** Of what scores at least the threshold, on the lines given. */
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/**
 * The threshold of "pos" with the highest F1 on held-out lines `__label__pos text` and `__label__neg text`; of equals the highest.
 * @throws CpmError "bad-input" for lines without positives.
 */
export function tuneThreshold(classifier: Classifier, lines: Iterable<string>): TunedThreshold {
  const scored: { score: number; positive: boolean }[] = [];
  for (const line of lines) {
    const match = /^__label__(pos|neg)\s+(.*)$/s.exec(line.trim());
    if (!match) continue;
    const { labels, probabilities } = classifier.score(match[2]!, { k: Number.POSITIVE_INFINITY });
    const at = labels.indexOf(POSITIVE);
    scored.push({ score: at < 0 ? 0 : Math.min(probabilities[at]!, 1), positive: match[1] === "pos" });
  }
  const positives = scored.filter(({ positive }) => positive).length;
  if (positives === 0)
    throw new CpmError("bad-input", "lines: none begins with __label__pos, so that there is nothing to find", { field: "lines" });
  scored.sort((a, b) => b.score - a.score);
  let best: TunedThreshold = { threshold: 1, precision: 0, recall: 0, f1: 0 };
  let hits = 0;
  scored.forEach(({ score, positive }, i) => {
    if (positive) hits++;
    // Equal scores fall on one side.
    if (scored[i + 1]?.score === score) return;
    const [precision, recall] = [hits / (i + 1), hits / positives];
    const f1 = hits === 0 ? 0 : (2 * precision * recall) / (precision + recall);
    if (f1 > best.f1) best = { threshold: score, precision, recall, f1 };
  });
  return best;
}
