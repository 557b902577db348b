// Counters in Prometheus' text format (version 0.0.4).

const buckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300] as const;

class Histogram {
  readonly counts = new Array<number>(buckets.length + 1).fill(0);
  sum = 0;

  add(seconds: number): void {
    const at = buckets.findIndex((most) => seconds <= most);
    this.counts[at < 0 ? buckets.length : at]!++;
    this.sum += seconds;
  }

  lines(name: string, labels: string): string[] {
    let total = 0;
    const rows = this.counts.map((count, i) => {
      total += count;
      return `${name}_bucket{${labels}${labels && ","}le="${buckets[i] ?? "+Inf"}"} ${total}`;
    });
    const tail = labels ? `{${labels}}` : "";
    return [...rows, `${name}_sum${tail} ${this.sum}`, `${name}_count${tail} ${total}`];
  }
}

export interface Gauges {
  readonly running: number;
  readonly waiting: number;
  readonly loaded: readonly { readonly id: string; readonly bytes: number }[];
}

const escaped = (label: string): string => label.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");

/** What a server has done since it began. Label values come from the server's own routes, statuses and model names. */
export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly #tokens = { prompt: 0, cached: 0, completion: 0 };
  readonly #durations = new Map<string, Histogram>();
  readonly #first = new Histogram();

  request(route: string, status: number, seconds: number): void {
    const key = `route="${route}",status="${status}"`;
    this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1);
    let durations = this.#durations.get(route);
    if (!durations) this.#durations.set(route, (durations = new Histogram()));
    durations.add(seconds);
  }

  firstToken(seconds: number): void {
    this.#first.add(seconds);
  }

  generated(usage: { readonly promptTokens: number; readonly cachedTokens: number; readonly completionTokens: number }): void {
    this.#tokens.prompt += usage.promptTokens;
    this.#tokens.cached += usage.cachedTokens;
    this.#tokens.completion += usage.completionTokens;
  }

  text({ running, waiting, loaded }: Gauges): string {
    const block = (name: string, type: string, help: string, lines: readonly string[]) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...lines,
    ];
    return [
      ...block(
        "cpm_requests_total",
        "counter",
        "Requests answered.",
        [...this.#requests].map(([labels, count]) => `cpm_requests_total{${labels}} ${count}`),
      ),
      ...block("cpm_requests_running", "gauge", "Requests that generate now.", [`cpm_requests_running ${running}`]),
      ...block("cpm_requests_waiting", "gauge", "Requests in the queue.", [`cpm_requests_waiting ${waiting}`]),
      ...block("cpm_prompt_tokens_total", "counter", "Prompt tokens, cached ones included.", [
        `cpm_prompt_tokens_total ${this.#tokens.prompt}`,
      ]),
      ...block("cpm_cached_tokens_total", "counter", "Prompt tokens found in the KV cache.", [
        `cpm_cached_tokens_total ${this.#tokens.cached}`,
      ]),
      ...block("cpm_completion_tokens_total", "counter", "Tokens generated.", [
        `cpm_completion_tokens_total ${this.#tokens.completion}`,
      ]),
      ...block(
        "cpm_model_bytes",
        "gauge",
        "Memory plan of each loaded model.",
        loaded.map(({ id, bytes }) => `cpm_model_bytes{model="${escaped(id)}"} ${bytes}`),
      ),
      ...block(
        "cpm_request_seconds",
        "histogram",
        "Time to a request's end.",
        [...this.#durations].flatMap(([route, h]) => h.lines("cpm_request_seconds", `route="${route}"`)),
      ),
      ...block(
        "cpm_first_token_seconds",
        "histogram",
        "Time to the first token.",
        this.#first.lines("cpm_first_token_seconds", ""),
      ),
      "",
    ].join("\n");
  }
}
