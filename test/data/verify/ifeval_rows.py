# Rows for the 25 instruction classes of IFEval (arXiv 2311.07911), and what the published rules say of them, read anew and written in Python,
# whose strings, patterns, JSON and langdetect are those of the published checker. Values are odd on purpose: other scripts, boundary counts,
# nested quotes, empty parts, code blocks, line ends of other systems.
#   python3 ifeval_rows.py SEED COUNT        COUNT rows for each class, and as many of two or three classes; JSON lines
# Sentences and words of the Punkt and Treebank splitters are not here: their texts are built of parts whose count is beyond doubt.
import collections
import json
import random
import re
import sys

from langdetect import DetectorFactory, LangDetectException, detect_langs

LANGUAGES = ["en", "de", "fr", "es", "it", "ru", "hi", "ja", "ko", "ar", "zh-cn", "th", "vi", "fi", "bg", "mr", "ne", "ta", "te", "kn", "pa", "gu", "bn", "ur", "fa", "sw", "pt"]
SPEECH = {
    "en": "The children walked home through the quiet park and talked about the long day at school.",
    "de": "Die Kinder gingen durch den stillen Park nach Hause und sprachen über den langen Tag in der Schule.",
    "fr": "Les enfants rentraient à la maison par le parc tranquille et parlaient de leur longue journée à l'école.",
    "es": "Los niños volvían a casa por el parque tranquilo y hablaban del largo día en la escuela.",
    "it": "I bambini tornavano a casa attraverso il parco e parlavano della lunga giornata a scuola.",
    "ru": "Дети шли домой через тихий парк и говорили о долгом дне в школе.",
    "hi": "बच्चे शांत बाग से होकर घर लौटे और स्कूल के लंबे दिन के बारे में बात करते रहे।",
    "ja": "子どもたちは静かな公園を通って家に帰り、学校での長い一日について話しました。",
    "ko": "아이들은 조용한 공원을 지나 집으로 걸어가며 학교에서의 긴 하루를 이야기했다.",
    "ar": "عاد الأطفال إلى البيت عبر الحديقة الهادئة وتحدثوا عن يومهم الطويل في المدرسة.",
    "zh-cn": "孩子们穿过安静的公园走回家，谈论着学校里漫长的一天。",
    "th": "เด็กๆ เดินกลับบ้านผ่านสวนที่เงียบสงบและคุยกันเรื่องวันที่ยาวนานที่โรงเรียน",
    "vi": "Bọn trẻ đi bộ về nhà qua công viên yên tĩnh và nói về một ngày dài ở trường.",
    "fi": "Lapset kävelivät kotiin hiljaisen puiston läpi ja puhuivat pitkästä koulupäivästä.",
    "bg": "Децата се прибираха у дома през тихия парк и говореха за дългия ден в училище.",
    "ta": "குழந்தைகள் அமைதியான பூங்கா வழியாக வீட்டிற்கு நடந்து பள்ளியைப் பற்றி பேசினார்கள்.",
    "pt": "As crianças voltavam para casa pelo parque tranquilo e falavam sobre o longo dia na escola.",
}
WORDS = "river Stone BRIDGE naïve straße İstanbul ılık ſee \u212aelvin ΣΊΣΥΦΟΣ café don't e-mail x_1 42 3.14 ½ 五月 мир été co-op O'Neil A.I. 😀 —".split()
SPACES = [" ", "  ", "\t", "\u00a0", "\u3000", "\n", "\r\n", "\x0b", "\u2028", "\x1c", "\u200b"]
QUOTES = ['"', "'", "\u201c", "\u201d", "``", "''", "\u00ab"]

r = random.Random()
pick = lambda xs: r.choice(xs)
maybe = lambda p=0.5: r.random() < p


def words(n):
    return "".join(pick(WORDS) + (" " if maybe(0.8) else pick(SPACES)) for _ in range(n))


def text():
    kind = r.randrange(10)
    if kind == 0:
        return pick(["", " ", "\n\n", "\u3000", "*", '"', "\ufeff", "\u200b"])
    body = words(r.randint(1, 25))
    if kind == 1:
        return "```json\n" + body + "\n```"
    if kind == 2:
        return pick(QUOTES) + body + pick(QUOTES)
    if kind == 3:
        return "\n".join(words(r.randint(0, 5)) for _ in range(r.randint(1, 6)))
    if kind == 4:
        return pick(list(SPEECH.values())) + " " + body
    return body


# --- the rules -----------------------------------------------------------------------------------------------------------------------
def relation(count, limit, how):
    return count < limit if how == "less than" else count >= limit


def language_is(value, wanted):
    """None: the library gives other answers for other seeds."""
    seen = set()
    for seed in range(5):
        DetectorFactory.seed = seed
        try:
            seen.add(detect_langs(value)[0].lang == wanted)
        except LangDetectException:
            seen.add(True)
    return seen.pop() if len(seen) == 1 else None


def paragraphs(v, k):
    parts = re.split(r"\s?\*\*\*\s?", v)
    n = len(parts)
    for i, part in enumerate(parts):
        if not part.strip():
            if i in (0, len(parts) - 1):
                n -= 1
            else:
                return False
    return n == k["num_paragraphs"]


def first_word(v, k):
    parts = re.split(r"\n\n", v)
    n = len([p for p in parts if p.strip()])
    nth = k["nth_paragraph"]
    if nth > n:
        return False
    part = parts[nth - 1].strip()
    if not part:
        return False
    word = part.split()[0].strip().lstrip("'").lstrip('"')
    first = ""
    for letter in word:
        if letter in {".", ",", "?", "!", "'", '"'}:
            break
        first += letter.lower()
    return n == k["num_paragraphs"] and first == k["first_word"].lower()


def highlights(v, k):
    n = sum(1 for h in re.findall(r"\*[^\n\*]*\*", v) if h.strip("*").strip())
    n += sum(1 for h in re.findall(r"\*\*[^\n\*]*\*\*", v) if h[2:-2].strip())
    return n >= k["num_highlights"]


def is_json(v, k):
    v = v.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        v = v.removeprefix(fence)
    try:
        json.loads(v.removesuffix("```").strip())
        return True
    except ValueError:
        return False


def two(v, k):
    parts = v.split("******")
    good = []
    for i, part in enumerate(parts):
        if not part.strip():
            if i not in (0, len(parts) - 1):
                return False
        else:
            good.append(part)
    return len(good) == 2 and good[0].strip() != good[1].strip()


def postscript(v, k):
    marker = k["postscript_marker"].strip()
    pattern = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}.get(marker, r"\s*" + marker.lower() + r".*$")
    return bool(re.findall(pattern, v.lower(), flags=re.MULTILINE))


def quoted(v, k):
    v = v.strip()
    return len(v) > 1 and v[0] == '"' and v[-1] == '"'


def cased(is_case):
    def rule(v, k):
        return language_is(v, "en") if is_case(v) else False

    return rule


RULES = {
    "keywords:existence": lambda v, k: all(re.search(w, v, flags=re.IGNORECASE) for w in k["keywords"]),
    "keywords:frequency": lambda v, k: relation(len(re.findall(k["keyword"].strip(), v, flags=re.IGNORECASE)), k["frequency"], k["relation"]),
    "keywords:forbidden_words": lambda v, k: not any(re.search(r"\b" + w + r"\b", v, flags=re.IGNORECASE) for w in k["forbidden_words"]),
    "keywords:letter_frequency": lambda v, k: relation(collections.Counter(v.lower())[k["letter"].strip().lower()], k["let_frequency"], k["let_relation"]),
    "language:response_language": lambda v, k: language_is(v, k["language"]),
    "length_constraints:number_paragraphs": paragraphs,
    "length_constraints:number_words": lambda v, k: relation(len(re.findall(r"\w+", v)), k["num_words"], k["relation"]),
    "length_constraints:nth_paragraph_first_word": first_word,
    "detectable_content:number_placeholders": lambda v, k: len(re.findall(r"\[.*?\]", v)) >= k["num_placeholders"],
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": lambda v, k: len(re.findall(r"^\s*\*[^\*].*$", v, flags=re.MULTILINE)) + len(re.findall(r"^\s*-.*$", v, flags=re.MULTILINE)) == k["num_bullets"],
    "detectable_format:constrained_response": lambda v, k: any(a in v.strip() for a in ("My answer is yes.", "My answer is no.", "My answer is maybe.")),
    "detectable_format:number_highlighted_sections": highlights,
    "detectable_format:multiple_sections": lambda v, k: len(re.split(r"\s?" + k["section_spliter"].strip() + r"\s?\d+\s?", v)) - 1 >= k["num_sections"],
    "detectable_format:json_format": is_json,
    "detectable_format:title": lambda v, k: any(t.lstrip("<").rstrip(">").strip() for t in re.findall(r"<<[^\n]+>>", v)),
    "combination:two_responses": two,
    "combination:repeat_prompt": lambda v, k: v.strip().lower().startswith(k["prompt_to_repeat"].strip().lower()),
    "startend:end_checker": lambda v, k: v.strip().strip('"').lower().endswith(k["end_phrase"].strip().lower()),
    "startend:quotation": quoted,
    "change_case:english_capital": cased(str.isupper),
    "change_case:english_lowercase": cased(str.islower),
    "punctuation:no_comma": lambda v, k: not re.search(r"\,", v),
}

# --- rows ----------------------------------------------------------------------------------------------------------------------------
HOW = ["less than", "at least"]
near = lambda n: max(0, n + r.randint(-1, 1))


def g_keywords(v):
    ks = [pick(["river", "bridge", "STRASSE", "straße", "café", "CAFÉ", "мир", "МИР", "五月", "i", "σίσυφος", "istanbul", "ILIK", "[a-z]lik", "[^i]lık", "see", "kelvin", "e-mail", "42", "a.i.", r"x_\d", "don't"]) for _ in range(r.randint(1, 2))]
    return v, {"keywords": ks}


def g_frequency(v):
    k = pick(["river", "é", "i", "мир", "42", "o", "s", "ß", " e", "五"])
    return v, {"keyword": k, "frequency": near(len(re.findall(k.strip(), v, flags=re.IGNORECASE))), "relation": pick(HOW)}


def g_forbidden(v):
    return v, {"forbidden_words": [pick(["river", "stone", "bridg", "naïve", "na", "мир", "мир", "five", "五", "café", "caf", "neil", "co", "x", "x_1", "3"])]}


def g_letter(v):
    c = pick(list("aeioustX!5") + ["é", "ß", "я", "五", "#", "İ", "Σ"])
    return v, {"letter": c, "let_frequency": near(v.lower().count(c.lower())), "let_relation": pick(HOW)}


def g_language(v):
    lang = pick(list(SPEECH))
    v = SPEECH[lang] * r.randint(1, 2)
    if maybe(0.2):
        v = pick(["", "42", "!!!", "😀 ½", "\u200b7"])
    return v, {"language": lang if maybe(0.6) else pick(LANGUAGES)}


def g_sentences(v):
    n = r.randint(1, 7)
    parts = []
    for _ in range(n):
        body = " ".join(pick(["the river", "a stone", "was seen", "near it", "by day", "they said so", "and then"]) for _ in range(r.randint(1, 4)))
        parts.append(body[0].upper() + body[1:] + pick([".", ".", "!", "?"]))
    how = pick(HOW)
    k = {"num_sentences": near(n), "relation": how}
    return pick([" ", "\n", "  ", "\n\n"]).join(parts), k, relation(n, k["num_sentences"], how)


def g_capitals(v):
    # How the Treebank rules cut: what is apart from its word counts alone.
    parts = [("HELLO", 1), ("I", 1), ("I'M", 2), ("CAN'T", 2), ("IT'S", 2), ("WE'LL", 2), ("CANNOT", 2), ("quiet", 0), ("Mixed", 0), ("WELL-KNOWN", 1), ("A1", 1), ("42", 0), ("МИР", 1), ("don't", 0), ("ÉTÉ", 1), ("NOW,", 1), ("(YES)", 1), ("STOP!", 1), ("café", 0), ("X", 1)]
    chosen = [pick(parts) for _ in range(r.randint(1, 8))]
    n = sum(c for _, c in chosen)
    how = pick(HOW)
    k = {"capital_frequency": near(n), "capital_relation": how}
    return " ".join(w for w, _ in chosen), k, relation(n, k["capital_frequency"], how)


def g_paragraphs(v):
    n = r.randint(1, 4)
    v = pick([" *** ", "\n***\n", "***", "\n\n***\n\n", "*** ***", " **** "]).join(words(r.randint(0 if maybe(0.1) else 1, 4)) for _ in range(n))
    return pick(["", "*** ", "\n***"]) + v + pick(["", "***", " ***\n"]), {"num_paragraphs": near(n)}


def g_words(v):
    return v, {"num_words": near(len(re.findall(r"\w+", v))), "relation": pick(HOW)}


def g_nth(v):
    n = r.randint(1, 4)
    firsts = [pick(["River", '"River', "''River", "river's", "RIVER.", "«River", "Straße,", "İx", "ΣΑΣ", "'\"a", ".", "*river*"]) for _ in range(n)]
    v = pick(["\n\n", "\n\n", "\n\n\n\n", "\n \n", "\r\n\r\n"]).join(f + " " + words(2).strip() for f in firsts)
    nth = r.randint(1, n + (1 if maybe(0.2) else 0))
    want = pick(["river", "straße", "i̇x", "σας", "σασ", "a", "*river*", "«river", "River"])
    if maybe(0.6):
        want = re.split(r"[.,?!'\"]", firsts[min(nth, n) - 1].lstrip("'").lstrip('"'))[0].lower() or "river"
    return v, {"num_paragraphs": near(n) or 1, "nth_paragraph": nth, "first_word": want}


def g_placeholders(v):
    v += "".join(pick(["[name]", "[]", "[a\nb]", "[[x]]", "[a] [b]", "[адрес]", "]x[", "[\u2028]", "[\r]"]) + " " for _ in range(r.randint(0, 4)))
    return v, {"num_placeholders": near(len(re.findall(r"\[.*?\]", v)))}


def g_postscript(v):
    return v + pick(["\n", " ", "\n\n"]) + pick(["P.S. more", "P.S more", "p. s. more", "PS: more", "P.P.S more", "P.P.S. more", "P. P. S", "P.p.s", "p.  s.", "P.S\u00a0.", ""]), {"postscript_marker": pick(["P.S.", "P.P.S", "PS:", "P.S", " P.S. "])}


def g_bullets(v):
    n = r.randint(0, 4)
    v = "\n".join([pick(["* ", "- ", " * ", "\t- ", "** ", "*", "-", "*x", "• ", "—", "\u00a0* ", "---", "\r\n* "]) + words(1).strip() for _ in range(n)] + ([v] if maybe(0.3) else []))
    found = len(re.findall(r"^\s*\*[^\*].*$", v, flags=re.MULTILINE)) + len(re.findall(r"^\s*-.*$", v, flags=re.MULTILINE))
    return v, {"num_bullets": near(found)}


def g_answer(v):
    return pick(["", v + " "]) + pick(["My answer is yes.", "My answer is no", "my answer is no.", "My answer is maybe. ", "My  answer is yes.", "**My answer is no.**", "My answer is\nyes."]), {}


def g_highlights(v):
    v += "".join(pick(["*a*", "**b**", "* c *", "***d***", "**", "****", "*\n*", "** **", "*e", "*f* *g*", "*\u2028*", "*é*"]) + pick([" ", "", "\n"]) for _ in range(r.randint(0, 5)))
    n = sum(1 for h in re.findall(r"\*[^\n\*]*\*", v) if h.strip("*").strip()) + sum(1 for h in re.findall(r"\*\*[^\n\*]*\*\*", v) if h[2:-2].strip())
    return v, {"num_highlights": near(n)}


def g_sections(v):
    s = pick(["Section", "SECTION", "Day", "Teil", "Раздел", "PARAGRAPH "])
    v = "\n".join(pick([s.strip(), s.strip().lower(), s.strip() + ":"]) + pick([" ", "", "  ", "\u00a0"]) + pick(["1", "2", "٣", "X", "10", "½"]) + " " + words(2) for _ in range(r.randint(0, 4)))
    return v, {"section_spliter": s, "num_sections": near(len(re.split(r"\s?" + s.strip() + r"\s?\d+\s?", v)) - 1)}


def g_json(v):
    body = pick(['{"a": 1}', "[1, 2,]", "{'a': 1}", "NaN", "-Infinity", '{"a": NaN}', '"NaN"', "01", "1.", "-0", '"\t"', '"\\ud800"', "{}", "[]", '{"a": 1} x', '{"a":1,"a":2}', "true", "True", "\ufeff{}", '"\u2028"', "1e999", '[1]\n[2]', '{"a": "```"}', '"\\x41"', "[\u00a01]", "+Infinity", "9" * 40])
    return pick(["", "```json\n", "```JSON", "```Json ", "```", "```jsonc\n", "\n "]) + body + pick(["", "\n```", "```", " \n"]), {}


def g_title(v):
    return pick([v, ""]) + pick(["<<t>>", "<< >>", "<<<>>>", "<<a\nb>>", "<a>", "<<é>> <<b>>", "<<>>", "<<\u2028>>", "<<<x>", "<<x\r>>"]) + v, {}


def g_two(v):
    a, b = words(2), words(2)
    return pick(["", "******", "*** ***\n"]) + a + pick(["******", "\n******\n", "*******", "***** *", "******\n******"]) + pick([a, b, b, " " + a, ""]) + pick(["", "******", "\n******\n\n"]), {}


def g_repeat(v):
    p = pick(["Write a poem.", "  Write ΣΑΣ ", "Tell me\nall", "İx STRASSE", "Was ist groß?"])
    return pick(["", " \n", '"']) + pick([p, p.lower(), p.upper(), p.strip(), p[:-2]]) + " " + v, {"prompt_to_repeat": p}


def g_end(v):
    p = pick(["Any other questions?", "Is there anything else?", "ΤΕΛΟΣ", " the end ", 'He said "no"', "İ"])
    return v + pick([p, p.lower(), p.strip() + '"', p.strip() + ' "', p.strip() + '."', "\u201c" + p.strip() + "\u201d", p.strip() + "\u3000", p + "'"]), {"end_phrase": p}


def g_quotation(v):
    q = pick(QUOTES)
    return pick(["", "\n", "\u00a0"]) + pick([q, '"', '""', ""]) + pick([v, 'a "b" c']) + pick([q, '"', '"."', ""]) + pick(["", "\n"]), {}


def g_case(v):
    s = pick([SPEECH["en"], SPEECH["en"] + " " + SPEECH["en"], SPEECH["de"], "42 !", "ß is the letter that they like in the small town", "ǅ IS THE LETTER", "THE ª SIGN AND THE WORDS OF THE MEN"])
    return pick([s.upper(), s.lower(), s, s.upper() + "x", s.lower() + "X"]), {}


GENERATORS = {
    "keywords:existence": g_keywords, "keywords:frequency": g_frequency, "keywords:forbidden_words": g_forbidden, "keywords:letter_frequency": g_letter,
    "language:response_language": g_language, "length_constraints:number_sentences": g_sentences, "length_constraints:number_paragraphs": g_paragraphs,
    "length_constraints:number_words": g_words, "length_constraints:nth_paragraph_first_word": g_nth, "detectable_content:number_placeholders": g_placeholders,
    "detectable_content:postscript": g_postscript, "detectable_format:number_bullet_lists": g_bullets, "detectable_format:constrained_response": g_answer,
    "detectable_format:number_highlighted_sections": g_highlights, "detectable_format:multiple_sections": g_sections, "detectable_format:json_format": g_json,
    "detectable_format:title": g_title, "combination:two_responses": g_two, "combination:repeat_prompt": g_repeat, "startend:end_checker": g_end,
    "startend:quotation": g_quotation, "change_case:capital_word_frequency": g_capitals, "change_case:english_capital": g_case, "change_case:english_lowercase": g_case,
    "punctuation:no_comma": lambda v: (v + pick(["", ",", "，", "、", "\u201a", "٫"]), {}),
}


def variants(v, loose):
    if not loose:
        return [v]
    lines = v.split("\n")
    cut = [v, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip()]
    return cut + [one.replace("*", "") for one in cut]


def follows(name, v, k, loose):
    seen = [RULES[name](one, k) if one.strip() else False for one in variants(v, loose)]
    if any(one is True for one in map(lambda one: one if one is None else bool(one), seen)):
        return True
    return None if None in seen else False


def rows(seed, count):
    r.seed(seed)
    for name, make in GENERATORS.items():
        made = 0
        while made < count:
            v, k, *known = make(text())
            if known:
                strict, loose = bool(known[0]), None
            else:
                strict, loose = follows(name, v, k, False), follows(name, v, k, True)
            made += 1
            if strict is not None:
                yield {"response": v, "instruction_id_list": [name], "kwargs": [k], "strict": strict, "loose": loose}
    own = [name for name in GENERATORS if name in RULES and not name.startswith(("language", "change_case"))]
    for _ in range(count):
        names = r.sample(own, r.randint(2, 3))
        v, _k = GENERATORS[names[0]](text())
        kwargs = [GENERATORS[name](v)[1] for name in names]
        strict = all(follows(n, v, k, False) for n, k in zip(names, kwargs))
        loose = all(follows(n, v, k, True) for n, k in zip(names, kwargs))
        yield {"response": v, "instruction_id_list": names, "kwargs": kwargs, "strict": strict, "loose": loose}


for row in rows(int(sys.argv[1]), int(sys.argv[2])):
    print(json.dumps(row))
