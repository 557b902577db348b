// Formats of strings that are enforced, as regular expressions over the whole string; sources: RFC 3339, 5321, 1123, 4291, 9562, 3986.

const day = (month: string, days: string) => `(?:${month})-${days}`;
const days28 = "(?:0[1-9]|1\\d|2[0-8])";
const days30 = "(?:0[1-9]|[12]\\d|30)";
const days31 = "(?:0[1-9]|[12]\\d|3[01])";
const leap = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
const date = `(?:\\d{4}-(?:${day("0[13578]|1[02]", days31)}|${day("0[469]|11", days30)}|${day("02", days28)})|${leap}-02-29)`;
const hour = "(?:[01]\\d|2[0-3])";
const minute = "[0-5]\\d";
// A leap second falls at 23:59:60 UTC; with another offset it is refused.
const time = `(?:${hour}:${minute}:${minute}(?:\\.\\d+)?(?:[Zz]|[+-]${hour}:${minute})|23:59:60(?:\\.\\d+)?(?:[Zz]|[+-]00:00))`;
const octet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const ipv4 = `${octet}(?:\\.${octet}){3}`;
// No "--" in the third and fourth place: labels of international names (xn--) would have to be decoded to be told right from wrong.
const label =
  "[A-Za-z0-9](?:[A-Za-z0-9]|[A-Za-z0-9-][A-Za-z0-9](?:[A-Za-z0-9-]{0,59}[A-Za-z0-9])?|[A-Za-z0-9-]-[A-Za-z0-9](?:[A-Za-z0-9-]{0,58}[A-Za-z0-9])?)?";
const short =
  "[A-Za-z0-9](?:[A-Za-z0-9]|[A-Za-z0-9-][A-Za-z0-9](?:[A-Za-z0-9-]{0,11}[A-Za-z0-9])?|[A-Za-z0-9-]-[A-Za-z0-9](?:[A-Za-z0-9-]{0,10}[A-Za-z0-9])?)?";
// At most 253 characters by their form: three labels of any length, one among ten others of at most 15, or fifteen of those.
const hostname = `(?:${label}(?:\\.${label}){0,2}|(?:${short}\\.){0,5}${label}(?:\\.${short}){0,5}|${short}(?:\\.${short}){0,14})`;
// The domain of an address: its labels' lengths are not counted, so that a bound on the whole stays cheap.
const domain = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*";
const atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const h16 = "[0-9A-Fa-f]{1,4}";

/** An address of eight groups, or fewer around one `::`, or with an IPv4 address for the last two. */
function ipv6(): string {
  const forms = [`(?:${h16}:){7}${h16}`, `(?:${h16}:){6}${ipv4}`];
  for (let before = 0; before <= 7; before++) {
    const head = before === 0 ? "::" : `${h16}(?::${h16}){${before - 1}}::`;
    const after = 7 - before;
    forms.push(after === 0 ? head : `${head}(?:${h16}(?::${h16}){0,${after - 1}})?`);
    // An IPv4 address stands for two groups.
    if (after >= 2) forms.push(after === 2 ? `${head}${ipv4}` : `${head}(?:${h16}:){0,${after - 2}}${ipv4}`);
  }
  return forms.join("|");
}

const percent = "%[0-9A-Fa-f]{2}";
const pchar = `(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|${percent})`;
const authority = `(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|${percent})*@)?(?:\\[(?:${ipv6()}|v[0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|${percent})*)(?::\\d*)?`;
const pathAbEmpty = `(?:/${pchar}*)*`;
const rest = `(?:\\?(?:${pchar}|[/?])*)?(?:#(?:${pchar}|[/?])*)?`;
const hier = `(?://${authority}${pathAbEmpty}|/(?:${pchar}+${pathAbEmpty})?|${pchar}+${pathAbEmpty}|)`;
const noColon = `(?:[A-Za-z0-9._~!$&'()*+,;=@-]|${percent})+`;
const uri = `[A-Za-z][A-Za-z0-9+.-]*:${hier}${rest}`;
const relative = `(?://${authority}${pathAbEmpty}|/(?:${pchar}+${pathAbEmpty})?|${noColon}${pathAbEmpty}|)${rest}`;

const timePart = "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)";
const datePart = "(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)";

/** Format -> expression; lengths beyond it (253 of a host name) are in `formatLengths`. */
export const formats: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `${date}[Tt]${time}`,
  duration: `P(?:\\d+W|${datePart}(?:${timePart})?|${timePart})`,
  email: `(?:${atom}(?:\\.${atom})*|"(?:[ !#-\\[\\]-~]|\\\\[ -~])*")@(?:${domain}|\\[${ipv4}\\]|\\[IPv6:(?:${ipv6()})\\])`,
  hostname,
  ipv4,
  ipv6: ipv6(),
  uuid: "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
  uri,
  "uri-reference": `(?:${uri}|${relative})`,
  "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
  "relative-json-pointer": "(?:0|[1-9]\\d*)(?:#|(?:/(?:[^~/]|~[01])*)*)",
};

/**
 * What a format beside a bound of its length is: its usual form, which is a part of it, since counting multiplies the states of all
 * the unusual ones.
 */
export const plainFormats: Readonly<Record<string, string>> = {
  email: `${atom}(?:\\.${atom})*@${domain}`,
  uri: `[A-Za-z][A-Za-z0-9+.-]*:(?://(?:[A-Za-z0-9._~!$&'()*+,;=-]|${percent})*(?::\\d*)?${pathAbEmpty}|${pchar}+${pathAbEmpty})${rest}`,
};

/** Formats of numbers (OpenAPI's registry): the kind, and bounds. */
export const numberFormats: Readonly<Record<string, { integer: boolean; low?: number; high?: number }>> = {
  int8: { integer: true, low: -128, high: 127 },
  uint8: { integer: true, low: 0, high: 255 },
  int16: { integer: true, low: -32768, high: 32767 },
  uint16: { integer: true, low: 0, high: 65535 },
  int32: { integer: true, low: -2147483648, high: 2147483647 },
  uint32: { integer: true, low: 0, high: 4294967295 },
  int64: { integer: true },
  uint64: { integer: true, low: 0 },
  int: { integer: true },
  uint: { integer: true, low: 0 },
  float: { integer: false },
  double: { integer: false },
};
