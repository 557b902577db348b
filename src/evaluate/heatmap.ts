// A grid of scores as an SVG, without any package.

export interface HeatMap {
  readonly title: string;
  /** Labels of columns and rows, and the scores, row by row, from 0 to 1; undefined: not measured. */
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  readonly scores: readonly (number | undefined)[];
  /** What columns and rows are. */
  readonly across: string;
  readonly down: string;
}

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`).replace(/[\u0000-\u001f\u007f]/g, " ");

/** From red over yellow to green, told apart by lightness as well. */
function color(score: number): string {
  const [low, middle, high] = [
    [178, 24, 43],
    [254, 224, 144],
    [26, 122, 88],
  ];
  const [from, to, share] = score < 0.5 ? [low!, middle!, 2 * score] : [middle!, high!, 2 * score - 1];
  return `rgb(${from.map((v, i) => Math.round(v + (to[i]! - v) * share)).join(",")})`;
}

/** The picture: a cell's color is its score, which stands in it as percent. */
export function heatMap({ title, columns, rows, scores, across, down }: HeatMap): string {
  const [cell, tall, left, top] = [64, 34, 40 + 7 * Math.max(4, ...rows.map((row) => row.length)), 64];
  const [width, height] = [Math.max(left + cell * columns.length + 20, 320), top + tall * rows.length + 20];
  const cells = rows.flatMap((_, r) =>
    columns.map((_, c) => {
      const score = scores[r * columns.length + c];
      const [x, y] = [left + c * cell, top + r * tall];
      const known = score !== undefined && Number.isFinite(score);
      const fill = known ? color(Math.min(1, Math.max(0, score))) : "#ddd";
      const ink = known && (score > 0.75 || score < 0.25) ? "#fff" : "#000";
      const label = known ? (100 * score).toFixed(0) : "–";
      return `<rect x="${x}" y="${y}" width="${cell - 2}" height="${tall - 2}" fill="${fill}"/><text x="${x + cell / 2 - 1}" y="${y + tall / 2 + 4}" fill="${ink}" text-anchor="middle">${label}</text>`;
    }),
  );
  const heads = columns.map(
    (column, c) => `<text x="${left + c * cell + cell / 2 - 1}" y="${top - 8}" text-anchor="middle">${escaped(column)}</text>`,
  );
  const sides = rows.map(
    (row, r) => `<text x="${left - 8}" y="${top + r * tall + tall / 2 + 4}" text-anchor="end">${escaped(row)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
<text x="12" y="20" font-size="14" font-weight="bold">${escaped(title)}</text>
<text x="12" y="${top - 24}">${escaped(down)} ↓, ${escaped(across)} →, percent right</text>
${heads.join("")}${sides.join("")}
${cells.join("\n")}
</svg>
`;
}
