import { useEffect, useRef, useState } from "preact/hooks";
import type { Backend } from "./backend.ts";
import { Composer } from "./composer.tsx";
import { download } from "./library.ts";
import { MessageView } from "./message.tsx";
import { ModelCards } from "./modelcards.tsx";
import { Settings } from "./settings.tsx";
import { Sidebar } from "./sidebar.tsx";
import * as state from "./state.ts";

const MEBI = 2 ** 20;

/** How full the context is, in words too. */
function Meter() {
  const size = state.info.value?.contextSize;
  const ended = state.path.value.findLast((message) => message.ended)?.ended;
  if (!size || !ended) return null;
  const used = Math.min(size, ended.promptTokens + ended.completionTokens);
  const share = used / size;
  return (
    <span class={`meter ${share >= 0.95 ? "full" : share >= 0.8 ? "high" : ""}`} title="Tokens of the context in use">
      {used.toLocaleString("en")} of {size.toLocaleString("en")} tokens
      {share >= 0.95 ? ", full" : share >= 0.8 ? ", nearly full" : ""}
    </span>
  );
}

/** A download that runs while something else is in use. */
function Fetching() {
  const at = download.value;
  if (!at || at.phase === "stopped" || !at.totalBytes) return null;
  return <span class="hint">{Math.floor((100 * at.bytes) / at.totalBytes)} % of a download</span>;
}

function Chip({ onOpen }: { readonly onOpen: () => void }) {
  const loading = state.loading.value;
  const info = state.info.value;
  if (loading) {
    const { phase, bytes, totalBytes } = loading;
    return (
      <div class="chip">
        <progress max={totalBytes || 1} value={totalBytes ? bytes : undefined} aria-label="Loading the model" />
        <span>
          {phase}
          {totalBytes ? `, ${(bytes / MEBI).toFixed(0)} of ${(totalBytes / MEBI).toFixed(0)} MB` : ""}
        </span>
        <button type="button" onClick={state.cancelLoad}>
          Cancel
        </button>
      </div>
    );
  }
  return (
    <button type="button" class="chip" onClick={onOpen} title={info?.detail}>
      <span class="name">{info?.model ?? "Choose a model"}</span>
      <Fetching />
    </button>
  );
}

export function App({ backend }: { readonly backend: Backend }) {
  const [drawer, setDrawer] = useState(false);
  const [settings, setSettings] = useState(false);
  const scroller = useRef<HTMLDivElement>(null);
  const [following, setFollowing] = useState(true);
  const follow = useRef(true);

  // Follows the end only while it is in view; any move upwards lets go.
  useEffect(() => {
    const host = scroller.current!;
    const atEnd = () => host.scrollHeight - host.scrollTop - host.clientHeight < 32;
    const onScroll = () => {
      follow.current = atEnd();
      setFollowing(follow.current);
    };
    const onWheel = (event: WheelEvent) => {
      if (event.deltaY < 0) follow.current = false;
    };
    host.addEventListener("scroll", onScroll, { passive: true });
    host.addEventListener("wheel", onWheel, { passive: true });
    const grown = new ResizeObserver(() => {
      // Cards that grow are no text to follow.
      if (follow.current && state.path.peek().length > 0) host.scrollTop = host.scrollHeight;
    });
    grown.observe(host.firstElementChild!);
    return () => {
      host.removeEventListener("scroll", onScroll);
      host.removeEventListener("wheel", onWheel);
      grown.disconnect();
    };
  }, []);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.isComposing || event.keyCode === 229) return;
      const command = event.ctrlKey || event.metaKey;
      if (command && event.shiftKey && event.key.toLowerCase() === "o") {
        event.preventDefault();
        void state.create();
      } else if (command && event.key.toLowerCase() === "b") {
        event.preventDefault();
        setDrawer((open) => !open);
      } else if (event.key === "Escape") {
        if (settings) setSettings(false);
        else if (drawer) setDrawer(false);
        else state.stop();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [settings, drawer]);

  const toEnd = () => {
    const host = scroller.current!;
    host.scrollTop = host.scrollHeight;
  };
  const path = state.path.value;
  const reading = state.reading.value;
  const trouble = state.alert.value;
  const deleted = state.deleted.value;
  return (
    <div class={`frame ${drawer ? "open" : ""}`}>
      <Sidebar onClose={() => setDrawer(false)} />
      <main>
        <h1 class="offscreen">cpm chat</h1>
        <header>
          <button type="button" class="menu" aria-label="Conversations" aria-expanded={drawer} onClick={() => setDrawer(!drawer)}>
            ☰
          </button>
          <Chip onOpen={() => setSettings(true)} />
          <Meter />
          <button type="button" class="gear" aria-label="Settings" onClick={() => setSettings(true)}>
            ⚙
          </button>
        </header>
        {state.info.value?.note ? <p class="note">One thread: {state.info.value.note}</p> : null}
        {state.elsewhere.value ? (
          <p class="note" role="status">
            The model runs in another tab.{" "}
            <button type="button" onClick={() => void state.again({ take: true })}>
              Use it here
            </button>
          </p>
        ) : null}
        <div class="scroll" ref={scroller}>
          <div class="column">
            {path.length === 0 ? (
              <div class="welcome">
                <h2>New chat</h2>
                <p>
                  {backend.home === "serve"
                    ? "The model runs on the server that sent this page. Conversations stay in this browser."
                    : "The model runs in this page: nothing you write leaves this device. Choose a model, or try the small story model that is here."}
                </p>
                {backend.home === "page" ? <ModelCards /> : null}
              </div>
            ) : null}
            {path.map((message, i) => (
              <MessageView key={message.id} message={message} last={i === path.length - 1} onSettings={() => setSettings(true)} />
            ))}
            {reading ? (
              <p class="reading">
                <progress max={reading.total} value={reading.done} aria-label="Reading the prompt" /> Reading{" "}
                {reading.done.toLocaleString("en")} of {reading.total.toLocaleString("en")} tokens
                {reading.left === undefined ? "" : `, ${Math.ceil(reading.left)} s left`}
              </p>
            ) : null}
          </div>
        </div>
        {!following && path.length > 0 ? (
          <button type="button" class="down" onClick={toEnd}>
            ↓ To the end
          </button>
        ) : null}
        {trouble ? (
          <div class="alert" role="alert">
            <span>{trouble.words}</span>
            {trouble.detail ? (
              <details>
                <summary>Details</summary>
                <code>{trouble.detail}</code>
              </details>
            ) : null}
            {trouble.actions?.map(({ label, run }) => (
              <button type="button" key={label} onClick={run}>
                {label}
              </button>
            ))}
            <button type="button" aria-label="Close this message" onClick={() => (state.alert.value = undefined)}>
              ✕
            </button>
          </div>
        ) : null}
        {deleted ? (
          <div class="toast">
            “{deleted.conversation.title}” deleted{" "}
            <button type="button" onClick={() => void state.undoRemove()}>
              Undo
            </button>
            <button type="button" aria-label="Close" onClick={() => (state.deleted.value = undefined)}>
              ✕
            </button>
          </div>
        ) : null}
        <Composer />
      </main>
      {settings ? <Settings backend={backend} onClose={() => setSettings(false)} /> : null}
      <div class="offscreen" role="status">
        {state.spoken.value}
      </div>
    </div>
  );
}
