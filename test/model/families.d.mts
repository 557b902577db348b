export interface Checked {
  readonly name: string;
  readonly passed: boolean;
  readonly line: string;
}
export function checkFamilies(dir: string, only?: readonly string[]): AsyncGenerator<Checked>;
