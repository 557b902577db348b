// What a route may use to answer one request.
import type { GeneratedPart, GenerateResult, Generation, LoraChoice, Model } from "../index.ts";
import { happenings } from "./answers.ts";
import { problemOf } from "./problem.ts";
import { event, eventHeaders, eventStream } from "./sse.ts";
import { Answer, logprobsOf, type WireLogprob } from "./wire.ts";

/** A request that was let in: a model, a signal that ends with the client or the time allowed, and what is counted. */
export interface Job {
  readonly id: string;
  readonly model: Model;
  /** Adapters of requests that name none. */
  readonly lora: LoraChoice | undefined;
  readonly signal: AbortSignal;
  readonly keepAliveMs: number;
  /** Ends the request's work: the client went away. */
  abandon(): void;
  /** The response of the job has been given, or its stream has ended. Harmless to call twice. */
  done(failure?: unknown): void;
  /** The first token came. */
  first(): void;
  count(result: GenerateResult): void;
  /** Leaves a note in the server's log. */
  failed(error: unknown): void;
}

export interface Delta {
  readonly choice: number;
  readonly answer: Answer;
  readonly part?: GeneratedPart;
  readonly logprobs: readonly WireLogprob[];
}

/** Runs generations to their end and gives what each adds, its end included. */
export async function* follow(job: Job, generations: readonly Generation[]): AsyncGenerator<Delta, void> {
  const answers = generations.map(() => new Answer());
  for await (const happening of happenings(generations)) {
    const { choice } = happening;
    const answer = answers[choice]!;
    if ("part" in happening) {
      job.first();
      const logprobs = happening.part.logprobs ? logprobsOf(happening.part, job.model.tokenizer) : [];
      answer.add(happening.part, logprobs);
      yield { choice, answer, part: happening.part, logprobs };
    } else {
      answer.result = happening.result;
      job.count(happening.result);
      yield { choice, answer, logprobs: [] };
    }
  }
}

/** All answers, complete. */
export async function complete(job: Job, generations: readonly Generation[]): Promise<readonly Required<Answer>[]> {
  const answers: Required<Answer>[] = [];
  for await (const { choice, answer } of follow(job, generations))
    if (answer.result) answers[choice] = answer as Required<Answer>;
  return answers;
}

/**
 * A response that streams events. It begins once the first event is there, so that a refused request is an ordinary error, or after
 * `keepAliveMs`. A later failure becomes an event `{ error }` and ends the stream.
 */
export async function streamed(job: Job, events: AsyncGenerator<string, void>, last = ""): Promise<Response> {
  const first = events.next();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, job.keepAliveMs);
  });
  try {
    await Promise.race([first, waited]);
  } finally {
    clearTimeout(timer);
  }
  // The time is up, or the client gone: nobody may be reading any more.
  const stopped = () => void events.return().then(() => job.done(job.signal.reason));
  job.signal.addEventListener("abort", stopped, { once: true });
  async function* guarded(): AsyncGenerator<string, void> {
    let failure: unknown;
    try {
      for (let next = await first; !next.done; next = await events.next()) yield next.value;
      job.signal.throwIfAborted();
      if (last !== "") yield last;
    } catch (error) {
      failure = error;
      job.failed(error);
      yield event(problemOf(error).body);
    } finally {
      job.signal.removeEventListener("abort", stopped);
      await events.return();
      job.done(failure);
    }
  }
  const body = eventStream(guarded(), {
    keepAliveMs: job.keepAliveMs,
    onCancel: () => {
      job.abandon();
      // A generator that never began has no finally to run.
      void events.return().finally(() => job.done());
    },
  });
  return new Response(body, { headers: eventHeaders });
}
