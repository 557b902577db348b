export interface Trouble {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly cut?: boolean;
}
export function startEndpoint(options?: {
  readonly latencyMs?: number;
  readonly port?: number;
  readonly trouble?: (n: number, body: unknown) => Trouble | undefined;
  readonly complete?: (body: unknown) => object;
}): Promise<{
  readonly url: string;
  readonly facts: {
    readonly requests: number;
    readonly now: number;
    readonly most: number;
    readonly bodies: ReadonlyMap<string, number>;
    readonly keys: ReadonlySet<string | undefined>;
  };
  close(): Promise<void>;
}>;
