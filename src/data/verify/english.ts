// English words that decide where sentences end.
const list = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/));

/** Written with a full stop that ends no sentence: titles, firms, months, days, states, places, offices, letters of names. */
export const ABBREVIATIONS: ReadonlySet<string> = list(
  `mr mrs ms messrs dr st jr sr lt col gen maj capt sgt cmdr adm rev hon prof sen sens rep reps gov pres supt
  inc corp co cos ltd bros assn dept cie mfg jan feb aug sept oct nov dec mon tues wed thurs fri
  ala ariz ark calif colo conn del fla ga ill ind kan ky la mass md mich minn miss mo mont neb nev okla ore pa penn tenn tex va vt wash wis wyo w.va
  n.c n.d n.h n.j n.m n.y s.c s.d r.i d.c u.s u.s.a u.k u.n u.s.s.r e.u l.a a.m p.m a.d b.c ph.d m.d m.b.a b.a m.a n.v s.a s.p.a a.g
  vs v ave blvd rd ft sq bldg ct cf ed eds vol nos pp fig chg sw se nw ne
  a.t a.c a.h a.s b.f c.i.t c.v d.h d.w e.f e.h e.l e.m f.g f.j g.d g.f g.k h.c h.f h.m j.b j.c j.d j.e j.f j.g j.j j.k j.l j.m j.p j.r j.t j.w
  k.k l.f l.p m.j p.a.m r.a r.h r.j r.k r.t s.g t.j w.a w.c w.e w.r w.w b h k r y`,
);

/** Words that often begin a sentence. */
export const STARTERS: ReadonlySet<string> = list(
  `the this that these those a an it he she they we you i in on at but and however while when whenever if although though as after before
  since for there here our their his her its my your what who why how where many most some all both each another such then thus so still yet
  also finally first second third next last meanwhile moreover furthermore additionally instead nevertheless nonetheless perhaps maybe yes no
  not now once only other others one two three several few among under over with without by from during because until unless despite according
  to today yesterday tomorrow let please`,
);

/** Words that are written small inside a sentence. */
export const COMMON: ReadonlySet<string> = list(
  `about above across again against ago almost alone along already always am any anyone anything are around ask away back be became become been
  began behind being below best better between big bring brought build built business buy call called came can cannot care carry case certain
  change children city clear close come common company could country course cut day days deal did different difficult do does done down early
  easy eat either else end enough even ever every everyone everything example experts eye face fact fall family far fast feel felt find fine
  follow food form found four free friend full further gave general get give given go goes going gone good got great group grow had half hand
  hard has have having head hear heard help hence high him himself hold home hope house idea if important inside into is itself just keep kind
  knew know known large late later learn least leave led left less life like likely line little live long look made main make man may me mean
  means men might mind money more morning move much must myself name near need never new news night none nothing number of off often old older
  open or order otherwise out outside own part people per person place plan play point possible put question quite rather read real really
  reason right run said same saw say says school see seem seen set shall should show side similarly simple simply since small something
  sometimes soon sort start state story strong study sure take taken talk tell than thank thanks them themselves thing things think thought
  through time times together told too took top toward tried true try turn under understand up upon us use used using usually very want was
  watch water way well went were which whether white whole whom whose will wish within woman women word words work works world would write
  year years young`,
);
