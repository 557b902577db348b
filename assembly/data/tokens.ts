// Lines that come as tokens, each of them some words by itself: their words are looked up once.
import { BASIS, find, mixed } from "./dictionary";
import { endLine, isEnd, isLabel, knownWord, separates, wordCount } from "./line";

/**
 * A token's slot, 16 bytes: how many words it is; of one word its id and hash, of more the address of such pairs. A word's id is its row,
 * -1 where it has none, or END.
 */
let slots: usize = 0;
const END: i32 = -2;

export function tokens_open(slotsAt: usize): void {
  slots = slotsAt;
}

function slotOf(token: u32): usize {
  return slots + ((<usize>token) << 4);
}

// Enters a token whose text is [at, end); gives how many words it is. Of more than one, pairs stay at `list`, which has room for all.
export function tokens_put(token: u32, at: usize, end: usize, list: usize): i32 {
  let count = 0;
  for (let p = at; p < end; ) {
    if (separates(load<u8>(p))) {
      p++;
      continue;
    }
    const begin = p;
    let h = BASIS;
    for (; p < end && !separates(load<u8>(p)); p++) h = mixed(h, load<u8>(p));
    const length = <u32>(p - begin);
    let id = find(begin, length, h);
    if (isEnd(begin, length)) id = END;
    // Labels are no words of a line.
    else if (id >= 0 ? id >= wordCount() : isLabel(begin, length)) continue;
    const pair = list + ((<usize>count) << 3);
    store<i32>(pair, id);
    store<u32>(pair, h, 4);
    count++;
  }
  const slot = slotOf(token);
  store<i32>(slot, count);
  if (count == 1) {
    store<i32>(slot, load<i32>(list), 4);
    store<u32>(slot, load<u32>(list, 4), 8);
  } else store<u32>(slot, <u32>list, 4);
  return count;
}

// Takes the words of the `count` tokens (i32) at `at` until one is </s>: 1 if the line ended so.
export function tokens_take(at: usize, count: i32): i32 {
  for (const end = at + ((<usize>count) << 2); at < end; at += 4) {
    const slot = slotOf(load<u32>(at));
    const words = load<i32>(slot);
    if (words == 1) {
      const id = load<i32>(slot, 4);
      if (id != END) {
        knownWord(id, load<u32>(slot, 8));
        continue;
      }
      endLine();
      return 1;
    }
    let pair: usize = load<u32>(slot, 4);
    for (let i = 0; i < words; i++, pair += 8) {
      const id = load<i32>(pair);
      if (id == END) {
        endLine();
        return 1;
      }
      knownWord(id, load<u32>(pair, 4));
    }
  }
  return 0;
}
