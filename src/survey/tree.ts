// A survey: its plan, what is written of it, and the positions that may be written next.

/** A part of a plan; `content` once it is written. */
export interface Section {
  readonly title: string;
  readonly plan: string;
  content?: string;
  readonly subsections?: Section[];
}

export interface Survey {
  readonly title: string;
  abstract?: string;
  introduction?: string;
  readonly sections: Section[];
  conclusion?: string;
}

/** All positions of a survey, in the order of the document. */
export function positionsOf({ sections }: Survey): string[] {
  return [
    "abstract",
    "introduction",
    ...sections.flatMap(({ subsections = [] }, i) => [
      `section-${i + 1}`,
      ...subsections.map((_, j) => `section-${i + 1}/subsection-${j + 1}`),
    ]),
    "conclusion",
  ];
}

type Place = { content?: string } | undefined;

function placeOf(survey: Survey, position: string): Place {
  const [, i, j] = /^section-([1-9]\d*)(?:\/subsection-([1-9]\d*))?$/.exec(position) ?? [];
  const section = i === undefined ? undefined : survey.sections[Number(i) - 1];
  return j === undefined ? section : section?.subsections?.[Number(j) - 1];
}

const plain = ["abstract", "introduction", "conclusion"] as const;
type Plain = (typeof plain)[number];
const isPlain = (position: string): position is Plain => (plain as readonly string[]).includes(position);

/** What is written at a position; undefined where nothing is. */
export const contentAt = (survey: Survey, position: string): string | undefined =>
  isPlain(position) ? survey[position] : placeOf(survey, position)?.content;

/** Writes at a position; false for one that the plan does not have. */
export function writeAt(survey: Survey, position: string, content: string): boolean {
  if (isPlain(position)) survey[position] = content;
  else {
    const place = placeOf(survey, position);
    if (!place) return false;
    place.content = content;
  }
  return true;
}

export const unwritten = (survey: Survey): string[] =>
  positionsOf(survey).filter((position) => contentAt(survey, position) === undefined);

/** Keys that a text cites, in its order. */
export const citationsOf = (text: string): string[] =>
  [...text.matchAll(/\\cite\{([^}]*)\}/g)].flatMap((match) => match[1]!.split(",").map((key) => key.trim()));

/** The plan as lines, and how far each is written. */
export function outline(survey: Survey): string {
  const line = (name: string, content: string | undefined, plan: string) =>
    `${name}: ${content === undefined ? `[PLAN] ${plan}` : `[OK] ${content.replace(/\s+/g, " ").slice(0, 50)}`}`;
  return [
    `# ${survey.title}`,
    line("abstract", survey.abstract, "what the survey says"),
    line("introduction", survey.introduction, "why, and what follows"),
    ...survey.sections.flatMap(({ title, plan, content, subsections = [] }, i) => [
      line(`section-${i + 1} [${title}]`, content, plan),
      ...subsections.map((sub, j) => `  ${line(`section-${i + 1}/subsection-${j + 1} [${sub.title}]`, sub.content, sub.plan)}`),
    ]),
    line("conclusion", survey.conclusion, "what was found"),
  ].join("\n");
}
