// Jinja's filters of texts.
import { needText } from "./arguments.ts";
import { bind, type Filter, items, type Machine, raise } from "./filter.ts";
import { percent } from "./format.ts";
import { indent, wrap } from "./lines.ts";
import { listFilters } from "./listfilters.ts";
import { escapeHtml, stripped, unescaped } from "./markup.ts";
import { replaceText } from "./methods.ts";
import * as s from "./strings.ts";
import { type Args, asInt, isIterable, iterate, PyDict, PyTuple, text, textOf, Undefined, type Value } from "./values.ts";

const onText =
  (work: (value: string) => Value): Filter =>
  (value, args, { budget }) => {
    bind("filter", "", args);
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 4);
    return work(whole);
  };

/** What wordwrap is told. */
function wrapping(args: Args) {
  const bound = bind("wordwrap", "width break_long_words wrapstring break_on_hyphens", args);
  return {
    width: bound.int("width", 79),
    breaks: bound.flag("break_long_words", true),
    mark: bound.maybe("wrapstring") ?? "\n",
    hyphens: bound.flag("break_on_hyphens", true),
  };
}

/** Filters of texts. */
export const textFilters: Readonly<Record<string, Filter>> = {
  capitalize: onText(s.capitalize),
  center: (value, args, { budget }) => {
    const width = bind("center", "width", args).int("width", 80);
    const whole = text(value, budget.spend);
    const missing = width - s.lengthOf(whole);
    if (missing <= 0) return whole;
    budget.characters(whole.length + missing);
    const left = (missing >> 1) + (missing & width & 1);
    return " ".repeat(left) + whole + " ".repeat(missing - left);
  },
  escape: onText(escapeHtml),
  format: (value, { positional, named }, { budget }) => {
    if (named.size > 0 && positional.length > 0) return raise("can't handle positional and keyword arguments at the same time");
    const with_ = named.size > 0 ? new PyDict([...named]) : new PyTuple(positional);
    return percent(text(value, budget.spend), with_, budget);
  },
  indent: (value, args, { budget }) => {
    const bound = bind("indent", "width first blank", args);
    const width = bound.get("width") ?? 4n;
    const count = asInt(width);
    if (count !== undefined) budget.characters(Number(count));
    const mark = count === undefined ? needText(width, "indent") : " ".repeat(Math.max(0, Number(count)));
    return indent(
      needText(value, "indent"),
      { width: mark, first: bound.flag("first", false), blank: bound.flag("blank", false) },
      budget,
    );
  },
  lower: onText(s.lower),
  replace: (value, args, { budget }) => {
    const bound = bind("replace", "old new count", args);
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 32);
    const count = bound.get("count");
    return replaceText(
      whole,
      text(bound.need("old"), budget.spend),
      text(bound.need("new"), budget.spend),
      count === undefined || count === null ? -1 : bound.int("count"),
      budget,
    );
  },
  striptags: onText((value) => unescaped(s.strip(stripped(value).replace(/\s+/g, " "), undefined, "both"))),
  title: onText(s.titleFilter),
  trim: (value, args, { budget }) => {
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 32);
    return s.strip(whole, bind("trim", "chars", args).maybe("chars"), "both");
  },
  truncate: (value, args, { budget }) => {
    const bound = bind("truncate", "length killwords end leeway", args);
    const [length, end, leeway] = [
      bound.int("length", 255),
      bound.text("end", "..."),
      bound.get("leeway") === null ? 5 : bound.int("leeway", 5),
    ];
    const whole = textOf(value) ?? (value instanceof Undefined ? "" : undefined);
    if (whole === undefined) {
      const size = listFilters["length"]!(value, { positional: [], named: new Map() }, { budget } as Machine);
      if (Number(size) <= length + leeway) return value;
      return raise("truncate needs a text");
    }
    const points = s.codePoints(whole);
    budget.spend(points.length / 16);
    const mark = s.lengthOf(end);
    if (length < mark || leeway < 0) throw new Error("AssertionError: expected a length of at least that of the end");
    if (points.length <= length + leeway) return points.join("");
    const cut = points.slice(0, length - mark).join("");
    if (bound.flag("killwords", false)) return cut + end;
    const space = cut.lastIndexOf(" ");
    return (space < 0 ? cut : cut.slice(0, space)) + end;
  },
  upper: onText(s.upper),
  urlencode: (value, args, { budget }) => {
    bind("urlencode", "", args);
    const quote = (part: Value, safe: boolean) => {
      const whole = text(part, budget.spend);
      budget.characters(3 * whole.length);
      const made = encodeURIComponent(whole.replace(/\p{Surrogate}/gu, "\ufffd")).replace(
        /[!'()*]/g,
        (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
      );
      return safe ? made.replaceAll("%2F", "/") : made;
    };
    if (textOf(value) !== undefined || !isIterable(value)) return quote(value, true);
    const pairs = value instanceof PyDict ? value.entries() : items(value, budget).map((pair) => iterate(pair));
    const plus = (part: Value) => quote(part, false).replaceAll("%20", "+");
    return pairs
      .map(([key, item, more]) => {
        if (key === undefined || item === undefined || more !== undefined) raise("urlencode needs pairs");
        return `${plus(key!)}=${plus(item!)}`;
      })
      .join("&");
  },
  wordcount: (value, _, { budget }) => {
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 16);
    return BigInt(whole.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0);
  },
  wordwrap: (value, args, { budget }) => {
    const whole = needText(value, "wordwrap");
    budget.spend(whole.length / 4);
    const made = wrap(whole, wrapping(args), budget);
    budget.characters(made.length);
    return made;
  },
  xmlattr: (value, args, { budget }) => {
    const space = bind("xmlattr", "autospace", args).flag("autospace", true);
    if (!(value instanceof PyDict)) return raise("xmlattr needs a mapping");
    const parts = value.entries().flatMap(([key, item]) => {
      if (item === null || item instanceof Undefined) return [];
      const name = text(key, budget.spend);
      if (/[\s/>=]/.test(name)) throw new Error("ValueError: Invalid character in attribute name");
      return [`${escapeHtml(name)}="${escapeHtml(text(item, budget.spend))}"`];
    });
    return (space && parts.length > 0 ? " " : "") + parts.join(" ");
  },
};
