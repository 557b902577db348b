// The page of cpm review. What a sample says is only ever text in it.
export const reviewHtml = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Review</title>
<link rel="stylesheet" href="/review.css">
<script type="module" src="/review.js"></script>
<header>
  <strong id="place"></strong>
  <progress id="progress" max="1" value="0" aria-label="Reviewed"></progress>
  <span id="counts"></span>
  <span id="status" role="status" aria-live="polite"></span>
</header>
<main id="sample" tabindex="-1"></main>
<footer>
  <label for="note">Note</label> <input id="note" autocomplete="off" spellcheck="false">
  <p><kbd>k</kbd> keep <kbd>d</kbd> drop <kbd>u</kbd> unsure <kbd>z</kbd> take back <kbd>←</kbd> <kbd>→</kbd> go <kbd>g</kbd> first open
  <kbd>Space</kbd> scroll <kbd>n</kbd> note <kbd>t</kbd> tools <kbd>p</kbd> provenance</p>
</footer>
</html>
`;

export const reviewCss = `:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #f3f2ee; --line: #767676; --good: #1a6334; --bad: #8f2d12; --open: #6b4e00; --accent: #1d4e89 }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #171717; --soft: #242424; --line: #8d8d8d; --good: #7fd49a; --bad: #ff9d80; --open: #e8c65a; --accent: #9cc4f5 } }
* { box-sizing: border-box }
html, body { height: 100%; margin: 0 }
body { display: grid; grid-template-rows: auto 1fr auto; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
header, footer { padding: .5rem 1rem; background: var(--soft) }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; border-bottom: 1px solid var(--line) }
footer { border-top: 1px solid var(--line) }
footer p { margin: .4rem 0 0; font-size: .875rem }
progress { width: 10rem }
main { overflow-y: auto; padding: 1rem; outline: none }
main > * { max-width: 60rem; margin: 0 auto 1rem }
h2 { font-size: .875rem; margin: 0; color: var(--accent); text-transform: none }
section { border-left: 3px solid var(--line); padding-left: .75rem }
section.assistant { border-color: var(--accent) }
pre { margin: .25rem 0 0; font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext }
pre.code { font: .875rem/1.45 ui-monospace, monospace; background: var(--soft); padding: .5rem; border-radius: 4px }
pre.thought { font-style: italic }
input { font: inherit; width: min(40rem, 70%); padding: .2rem .4rem; color: inherit; background: var(--paper); border: 1px solid var(--line); border-radius: 4px }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
kbd { font: inherit; border: 1px solid var(--line); border-radius: 4px; padding: 0 .35rem; margin-left: .5rem; background: var(--paper) }
.keep { color: var(--good) } .drop { color: var(--bad) } .unsure { color: var(--open) } .failed { color: var(--bad) }
`;
