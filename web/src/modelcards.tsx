import { useState } from "preact/hooks";
import * as library from "./library.ts";
import * as state from "./state.ts";

const mb = (bytes: number): string => `${Math.round(bytes / 1e6).toLocaleString("en")} MB`;

/** What WebAssembly's usual memory holds, and the share of a device's memory that a page can hope for. */
const MOST_BYTES = 4e9;
const SHARE = 0.6;

/** Whether a model is likely to fit; undefined: nothing is known of it. */
function fits({ totalBytes, memoryBytes, kept }: library.Card): boolean | undefined {
  const memory = memoryBytes ?? (totalBytes && totalBytes * 1.3);
  if (!memory) return undefined;
  const device = (navigator as { deviceMemory?: number }).deviceMemory;
  const room = library.room.value;
  const disk = kept === "whole" || room === undefined || (totalBytes ?? 0) <= room;
  return disk && memory <= MOST_BYTES && (device === undefined || memory <= device * SHARE * 2 ** 30);
}

function duration(seconds: number): string {
  const s = Math.ceil(seconds);
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${Math.ceil(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

function Progress({ at }: { readonly at: library.Download }) {
  const { name, phase, bytes, totalBytes, rate, left } = at;
  const running = phase !== "stopped";
  return (
    <div class="download">
      <progress max={totalBytes || 1} value={totalBytes ? bytes : undefined} aria-label={`Download of ${name}`} />
      <p class="hint">
        {phase === "asking" ? "Asking what there is" : phase === "waiting" ? "Another tab fetches this model" : null}
        {phase === "fetching" ? `${mb(bytes)} of ${mb(totalBytes)}` : null}
        {phase === "fetching" && rate ? `, ${(rate / 1e6).toFixed(1)} MB/s` : null}
        {left === undefined ? null : `, ${duration(left)} left`}
        {phase === "stopped" && bytes > 0 ? `${mb(bytes)} of ${mb(totalBytes)} kept.` : null}
      </p>
      {at.words ? (
        <div class="failed" role="alert">
          {at.words}
          {at.detail ? (
            <details>
              <summary>Details</summary>
              <code>{at.detail}</code>
            </details>
          ) : null}
        </div>
      ) : null}
      <div class="row">
        {running ? (
          <button type="button" onClick={library.pause}>
            Pause
          </button>
        ) : (
          <button type="button" onClick={() => void library.fetchModel(name)}>
            {bytes > 0 ? "Resume" : "Try again"}
          </button>
        )}
        {at.unkept ? (
          <button type="button" onClick={() => void state.choose(name, at.unkept)}>
            Load without keeping it
          </button>
        ) : null}
        <button type="button" onClick={() => void library.cancel(name)}>
          Cancel
        </button>
      </div>
    </div>
  );
}

function CardView({ card }: { readonly card: library.Card }) {
  const { name, title, totalBytes, memoryBytes, licence, kept, bytes } = card;
  const at = library.download.value?.name === name ? library.download.value : undefined;
  const loaded = state.info.value?.model === name;
  const fit = fits(card);
  const facts = [
    totalBytes ? `${mb(totalBytes)} to download` : "",
    memoryBytes ? `${mb(memoryBytes)} of memory` : "",
    licence ?? "",
    fit === undefined ? "" : fit ? "fits" : "may not fit",
  ].filter(Boolean);
  return (
    <li class="card">
      <h3>{title}</h3>
      {title === name ? null : <p class="hint">{name}</p>}
      <p class="hint">{facts.join(" · ")}</p>
      {at ? (
        <Progress at={at} />
      ) : (
        <>
          {kept === "removed" ? <p class="hint">The browser removed the model to free space.</p> : null}
          {kept === "begun" ? <p class="hint">{`${mb(bytes)}${totalBytes ? ` of ${mb(totalBytes)}` : ""} kept.`}</p> : null}
          <div class="row">
            {kept === "whole" ? (
              <button type="button" disabled={loaded} onClick={() => void library.use(name)}>
                {loaded ? "In use" : "Use"}
              </button>
            ) : (
              <button type="button" onClick={() => void library.fetchModel(name)}>
                {kept === "begun" ? "Resume" : kept === "removed" ? "Download again" : "Download"}
              </button>
            )}
            {kept === "absent" && !card.mine ? null : (
              <button type="button" disabled={loaded} aria-label={`Remove ${title}`} onClick={() => void library.forget(name)}>
                Remove
              </button>
            )}
          </div>
        </>
      )}
    </li>
  );
}

/** What can be chosen where the model runs in the page. */
export function ModelCards() {
  const [given, setGiven] = useState("");
  const running = library.download.value;
  const unlisted = running && !library.cards.value.some(({ name }) => name === running.name) ? running : undefined;
  const submit = () => {
    const text = given.trim();
    if (text === "") return;
    // "org/repo:Q4_0" is a name on the hub, everything else an address.
    const name = /^(?:hf:(?:\/\/)?|hf\.co\/)?([\w.-]+\/[\w.-]+(?:[:/@][\w./:@-]*)?)$/.exec(text)?.[1];
    if (name) void library.fetchModel(name);
    else void state.choose(text, text);
  };
  return (
    <div class="models">
      <ul class="cards" aria-label="Models">
        {library.cards.value.map((card) => (
          <CardView key={card.name} card={card} />
        ))}
        {unlisted ? (
          <li class="card">
            <h3>{unlisted.name}</h3>
            <Progress at={unlisted} />
          </li>
        ) : null}
        {state.models.value.map((name) => (
          <li class="card" key={name}>
            <h3>{name}</h3>
            <p class="hint">Comes with the page: nothing to download.</p>
            <div class="row">
              <button type="button" disabled={state.info.value?.model === name} onClick={() => void state.choose(name)}>
                {state.info.value?.model === name ? "In use" : "Use"}
              </button>
            </div>
          </li>
        ))}
      </ul>
      {library.lasting.value === undefined ? null : (
        <p class="hint">
          {library.lasting.value
            ? "This browser keeps downloaded models until you remove them."
            : "This browser may remove downloaded models when space is short."}
        </p>
      )}
      <label>
        A .gguf file of mine
        <input
          type="file"
          accept=".gguf"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) void state.choose(file.name, file);
          }}
        />
      </label>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <label>
          Or its name on the hub, or its address
          <input
            type="text"
            spellcheck={false}
            autocapitalize="off"
            placeholder="openbmb/MiniCPM4-0.5B-GGUF"
            value={given}
            onInput={(event) => setGiven(event.currentTarget.value)}
          />
        </label>
        <button type="submit">Load</button>
      </form>
    </div>
  );
}
