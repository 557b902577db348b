// Which language a text is in. Two detectors: one of our own, by scripts and small words, which needs no file; and the n-gram
// classifier of the langdetect library (S. Nakatani 2010), which IFEval's checker uses, over that library's profiles.

import { COMMON, STARTERS } from "./english.ts";

/** An ISO 639-1 code ("zh-cn" and "zh-tw" for Chinese), or undefined for a text without letters. */
export type LanguageDetector = (text: string) => string | undefined;

const list = (text: string): readonly string[] => text.split(" ");

/** Scripts that one language is written in, more or less. */
const scripts: readonly (readonly [string, RegExp])[] = [
  ["ko", /\p{Script=Hangul}/gu],
  ["th", /\p{Script=Thai}/gu],
  ["ta", /\p{Script=Tamil}/gu],
  ["te", /\p{Script=Telugu}/gu],
  ["kn", /\p{Script=Kannada}/gu],
  ["ml", /\p{Script=Malayalam}/gu],
  ["gu", /\p{Script=Gujarati}/gu],
  ["pa", /\p{Script=Gurmukhi}/gu],
  ["bn", /\p{Script=Bengali}/gu],
  ["he", /\p{Script=Hebrew}/gu],
  ["el", /\p{Script=Greek}/gu],
  ["ja", /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ["zh-cn", /\p{Script=Han}/gu],
  ["arabic", /\p{Script=Arabic}/gu],
  ["devanagari", /\p{Script=Devanagari}/gu],
  ["cyrillic", /\p{Script=Cyrillic}/gu],
  ["latin", /\p{Script=Latin}/gu],
];

/** Small words of languages that share a script. */
const smallWords: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  latin: {
    en: [
      ...COMMON,
      ...STARTERS,
      ...list(
        "over the of and to in is you that it he was for on are as with his they i at be this have from or had by but what all were we when your can said there use an each which she do how their if will up about out then them these so some her would make like him into time has look two more go see no my than been who its now did get come may am our not just any very just also here should could",
      ),
    ],
    es: list(
      "no ha tiempo que de la que el en y los del se las por un para con una su al lo como más pero sus le ya este sí porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni ese eso es son está fue hola gracias yo tú ella muchas",
    ),
    pt: list(
      "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu sua ou quando muito nos já eu também só pelo pela até isso ela entre depois sem mesmo aos seus quem nas me esse eles você essa num nem são é está foi obrigado",
    ),
    fr: list(
      "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec son sa aux ou cette comme mais nous vous je tu elle être fait ses leur été deux même d'un d'une c'est l'on très bien où ont bonjour",
    ),
    de: list(
      "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man sein ich wir ihr du kann wenn",
    ),
    it: list(
      "di e il la che in un a per è non una sono con le si da come del i al nel più della gli ma ha lo anche dei questo alla se delle io mi ci tra nella suo sua loro essere molto quando dove tutti perché ho hai cosa",
    ),
    nl: list(
      "de van een het en in is dat op te zijn met voor die niet aan er om ook als dan maar bij nog uit door naar heeft hij ik je we zij worden werd wordt deze dit over hun was kan geen meer wel",
    ),
    sv: list(
      "och i att det som en på är av för med den till inte har de ett om var jag så men han från vi kan när eller hade min du då sin skulle detta vid mot",
    ),
    da: list(
      "og i at det er en til af på for med den ikke som der de har et jeg var om men han hun fra vi kan så eller havde blev også efter ved mig nu meget",
    ),
    no: list(
      "og i det er en til på for med som av at har de ikke den et jeg var om men han fra vi kan så eller hadde ble også etter ved meg nå mye være",
    ),
    fi: list(
      "ja on ei se että en hän oli ovat joka mutta niin kuin kun myös olla hänen ole sen minä tämä sinä te me he mitä jos tai vain nyt voi kanssa mukaan ovat jotka hyvin",
    ),
    pl: list(
      "i w nie na się z do to że jest o jak a co po tak za od ale przez dla są tym czy już tylko jego jej może ma go być który która które był było ich",
    ),
    vi: list(
      "và của là có trong cho được không một các với để người này những khi đã đó từ cũng như tôi bạn về đến ra vào nhiều rất hay nhưng thì họ chúng",
    ),
    sw: list(
      "na ya wa kwa ni katika za la kuwa cha hii kama huo vya yake lakini pia watu sana hiyo wake zaidi baada hata bila mimi wewe yeye sisi hapa kila moja wakati",
    ),
    tr: list(
      "ve bir bu da de için ile çok olarak daha ne var gibi olan en kadar ama sonra ben o mi değil her ya biz siz şey kendi olduğu nasıl",
    ),
    id: list(
      "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena ada mereka lebih sudah atau oleh kami kita bisa seperti adalah",
    ),
    ro: list(
      "de și în a la cu pe nu o că este din un care mai pentru sau să se au fi fost prin ca dar al după când foarte sunt lui",
    ),
    cs: list("a je v se na to že s z do i o jako by ale si pro jsem tak po jsou co jeho které který která nebo byl bylo jen už"),
    hu: list("a az és hogy nem is egy ez meg van csak mint de ha már volt azt még el vagy nagyon lehet ki mert minden kell"),
    tl: list("ang ng sa na mga ay at ko ni si hindi ito para niya kung siya ka mo ako nila rin din lang may pero kami"),
  },
  cyrillic: {
    ru: list(
      "и в не на что я с он как это по но они к у мы за из то все от так же вы для о бы его только её было когда уже или ещё нет если",
    ),
    uk: list(
      "і в не на що я з він як це по але вони до у ми за із то всі від так же ви для про б його тільки її було коли вже або ще ні якщо та є",
    ),
    bg: list(
      "и в не на че аз с той като това по но те към у ние за от до всички така вие ще да се е са съм който която при или още ако",
    ),
    mk: list(
      "и во не на дека јас со тој како ова по но тие кон кај ние за од до сите така вие ќе да се е сум кој која при или уште ако",
    ),
  },
  arabic: {
    ar: list("في من على أن إلى هذا التي ما كان هو لا عن مع هذه الذي أو كل بعد ذلك قد هي بين كما إن لم و يا أنا"),
    fa: list("در به از که این را با است برای آن یک خود تا کرد بر هم نیز می ها شد او ما اما یا بود شود اند"),
    ur: list("کے میں کی ہے سے اور کا کو اس نے ہیں کہ پر یہ نہیں بھی ایک تو کر وہ ان جو ہو گیا لیے تھا اپنے"),
  },
  devanagari: {
    hi: list("के है में की से को और का पर यह हैं कि नहीं एक भी ने लिए कर तो हो था या जो इस आप वह मैं हम उस अपने गया"),
    mr: list("आहे आणि या च्या मध्ये ते हे की आहेत नाही एक तर होते त्या मी आपण पण हा ही साठी करण्यासाठी केले असे जे काही तुम्ही"),
    ne: list("छ को र मा हो लाई पनि गर्न यो छन् भएको एक तर गर्ने हुन्छ म तपाईं हामी थियो यस त्यो छैन गरेको बाट लागि सबै"),
  },
};

/** A language that letters of its own give away, by script. */
const letters: Readonly<Record<string, readonly (readonly [string, RegExp])[]>> = {
  cyrillic: [
    ["uk", /[іїєґ]/gu],
    ["mk", /[ќѓѕјљњџ]/gu],
    ["ru", /[ыэё]/gu],
    ["bg", /ъ/gu],
  ],
  arabic: [
    ["ur", /[ٹڈڑںےہھ]/gu],
    ["fa", /[پچژگکی]/gu],
    ["ar", /[ةىيكأإ]/gu],
  ],
  devanagari: [["mr", /ळ/gu]],
  latin: [
    ["vi", /[ơưăạảấầẩẫậắằẳẵặẹẻẽếềểễệịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ]/gu],
    ["de", /ß/gu],
    ["es", /[ñ¿¡]/gu],
    ["pt", /[ãõ]/gu],
    ["pl", /[łśźżąę]/gu],
    ["ro", /[țşţș]/gu],
    ["tr", /[ığş]/gu],
    ["cs", /[řěů]/gu],
    ["hu", /[őű]/gu],
  ],
};

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;

/** The detector that needs no files: the script that prevails, then small words and letters of its languages. */
export const builtInLanguage: LanguageDetector = (text) => {
  const small = text
    .replace(/https?:\/\/\S+|\S+@\S+/g, " ")
    .toLowerCase()
    .normalize("NFC");
  let [script, most] = ["", 0];
  for (const [name, pattern] of scripts) {
    // A character of an ideographic script says as much as several letters; Japanese is told by its own beside Chinese ones.
    const weight = name === "ja" ? 20 : name === "zh-cn" || name === "ko" ? 3 : 1;
    const found = count(small, pattern) * weight;
    if (found > most) [script, most] = [name, found];
  }
  if (most === 0) return undefined;
  const candidates = smallWords[script];
  if (!candidates) return script;
  const scores = new Map<string, number>();
  const add = (language: string, by: number) => scores.set(language, (scores.get(language) ?? 0) + by);
  for (const word of small.match(/[\p{L}\p{M}'’]+/gu) ?? []) {
    const sharing = Object.entries(candidates).filter(([, words]) => words.includes(word));
    for (const [language] of sharing) add(language, 1 / sharing.length);
  }
  for (const [language, pattern] of letters[script] ?? []) add(language, count(small, pattern) * 0.5);
  const [best] = [...scores].sort(([, a], [, b]) => b - a);
  const plain = { latin: "en", cyrillic: "ru", arabic: "ar", devanagari: "hi" }[script];
  return best && best[1] > 0 ? best[0] : plain;
};

/** A profile of langdetect: how often each run of one to three characters stands in texts of a language, and the sums by length. */
export interface LanguageProfile {
  readonly name: string;
  readonly freq: Readonly<Record<string, number>>;
  readonly n_words: readonly number[];
}

const normal = (char: string): string => {
  const code = char.codePointAt(0)!;
  if (code < 0x80) return /[A-Za-z]/.test(char) ? char : " ";
  if (code < 0x100) return "\u00a0\u00ab\u00b0\u00bb".includes(char) ? " " : char;
  if (code === 0x219) return "\u015f";
  if (code === 0x21b) return "\u0163";
  if (code >= 0x2000 && code < 0x2070) return " ";
  if (code === 0x6cc) return "\u064a";
  if (code >= 0x1ea0 && code < 0x1f00) return "\u1ec3";
  if (code >= 0x3040 && code < 0x30a0) return "\u3042";
  if (code >= 0x30a0 && code < 0x3100) return "\u30a2";
  if ((code >= 0x3100 && code < 0x3130) || (code >= 0x31a0 && code < 0x31c0)) return "\u3105";
  if (code >= 0xac00 && code < 0xd7b0) return "\uac00";
  return char;
};

/** The text that langdetect looks at: without addresses, and without Latin letters where others prevail. */
function cleaned(given: string): string {
  const text = [
    ...given
      .replace(/https?:\/\/[-_.?&~;+=/#0-9A-Za-z]{1,2076}/g, " ")
      .replace(/[-_.0-9A-Za-z]{1,64}@[-_0-9A-Za-z]{1,255}[-_.0-9A-Za-z]{1,255}/g, " ")
      .replace(/[AEIOUYaeiouyÂÊÔâêôĂăƠơƯư][\u0300\u0301\u0303\u0309\u0323]/gu, (pair) => pair.normalize("NFC")),
  ]
    .slice(0, 10_000)
    .join("")
    .replace(/ {2,}/g, " ");
  let [latin, other] = [0, 0];
  for (const char of text) {
    const code = char.codePointAt(0)!;
    if (char >= "A" && char <= "z" && code < 0x80) latin++;
    else if (code >= 0x300 && !(code >= 0x1e00 && code < 0x1f00)) other++;
  }
  return latin * 2 < other ? text.replace(/[A-z]/g, "") : text;
}

/**
 * The classifier of langdetect 1.0.9 over its profiles: naive Bayes over runs of one to three characters. Where the library draws runs
 * at random until it is sure, this weighs all of them, so that equal texts have equal answers.
 * @param kanji groups of ideographs that count as their first, as the library's files have them
 */
export function languageDetector(profiles: readonly LanguageProfile[], kanji: readonly string[] = []): LanguageDetector {
  const table = new Map<string, Float64Array>();
  for (const [i, { freq, n_words: sums }] of profiles.entries())
    for (const [run, times] of Object.entries(freq)) {
      const length = [...run].length;
      const sum = sums[length - 1];
      if (length < 1 || length > 3 || !sum) continue;
      let row = table.get(run);
      if (!row) table.set(run, (row = new Float64Array(profiles.length)));
      row[i] = times / sum;
    }
  const group = new Map(kanji.flatMap((members) => [...members].map((char) => [char, [...members][0]!] as const)));
  return (text) => {
    const scores = new Float64Array(profiles.length);
    let runs = [" "];
    let [capitals, found] = [false, 0];
    for (const given of cleaned(text)) {
      const one = normal(given);
      const char = group.get(one) ?? one;
      const last = runs.at(-1)!;
      if (last === " ") {
        [runs, capitals] = [[" "], false];
        if (char === " ") continue;
      } else if (runs.length >= 3) runs.shift();
      runs.push(char);
      const upper = /\p{Uppercase}/u;
      if (!upper.test(char)) capitals = false;
      else if (upper.test(last)) capitals = true;
      if (capitals) continue;
      for (let n = 1; n <= runs.length; n++) {
        const run = runs.slice(-n).join("");
        const row = run === " " ? undefined : table.get(run);
        if (!row) continue;
        found++;
        for (let i = 0; i < scores.length; i++) scores[i]! += Math.log(0.5 / 10_000 + row[i]!);
      }
    }
    if (found === 0) return undefined;
    return profiles[scores.reduce((best, score, i) => (score > scores[best]! ? i : best), 0)]?.name;
  };
}
