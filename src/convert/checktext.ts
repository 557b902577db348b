// A text that holds what tokenizers tell apart: runs of white space, digits by ones to sevens, contractions in both cases, scripts with
// and without spaces, marks, symbols, characters that few vocabularies have.

export const checkText = [
  "Plain words, then  two   three    four spaces\tand\t\ttabs \t mixed.",
  "\n one\n\n two\r\n three \n\n\n\n  four\n",
  "1 22 333 4444 55555 666666 7777777 3.14 1,000,000 v2.0 0x1F 10e-5 ½ ² Ⅷ ٣٤٥ 一二三 １２３",
  "I'm you're he'll she'd we've it's DON'T I'M YOU'RE HE'LL SHE'D WE'VE IT'S 'tis rock'n'roll O'Neill",
  "camelCase snake_case kebab-case SHOUTING Xa xA __init__ #include <stdio.h> a+=b; c!=d && e||f => {g[h](i)}",
  '......!!!!??? -- --- ---- ======= ~~~ ``` "quoted" \'single\' «guillemets» (round) [square] {curly} <tag attr="v"/>',
  "Straße façade naïve Ångström Ελληνικά русский текст עברית العربية हिन्दी ไทย ភាសាខ្មែរ",
  "中文没有空格，标点也不同。日本語とカタカナ、ひらがな。한국어 문장입니다.",
  "🙂🚀 👩‍👩‍👧‍👦 ✅ → ∑∫√ ©®™ \u00a0nbsp \u200dzwj \u0301mark e\u0301 \ufeff",
  "https://example.org/a?b=c&d=%20#e user@example.org C:\\path\\file.txt $5.00 €7 50%",
  " leading and trailing ",
].join("\n");
