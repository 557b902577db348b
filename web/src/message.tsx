import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Ended } from "./backend.ts";
import { copyText, markdown } from "./markdown.ts";
import * as state from "./state.ts";
import type { Message } from "./store.ts";
import { StreamView } from "./stream.ts";

/** What an answer says: written as it comes while it runs, read as a whole afterwards. */
function Body({ message }: { readonly message: Message }) {
  const host = useRef<HTMLDivElement>(null);
  const live = message.status === "running";
  useLayoutEffect(() => {
    const node = host.current!;
    if (!live) {
      node.replaceChildren(...markdown(message.text));
      return;
    }
    const view = new StreamView(node);
    const end = state.listen(message.id, (piece) => {
      if (piece.type === "text") view.append(piece.text);
    });
    return () => {
      view.dispose();
      end();
    };
  }, [message.id, live, live ? "" : message.text]);
  return <div class="body" dir="auto" ref={host} />;
}

/** Thinking: open while it comes, folded when the answer begins. */
function Reasoning({ message }: { readonly message: Message }) {
  const [text, setText] = useState(message.reasoning);
  const [open, setOpen] = useState(false);
  const live = message.status === "running";
  useLayoutEffect(() => {
    if (!live) {
      setText(message.reasoning);
      return;
    }
    let all = "";
    let answering = false;
    return state.listen(message.id, (piece) => {
      if (piece.type === "reasoning") {
        all += piece.text;
        setText(all);
        setOpen(true);
      } else if (!answering) {
        answering = true;
        setOpen(false);
      }
    });
  }, [message.id, live, message.reasoning]);
  if (text === "") return null;
  const seconds = message.thoughtMs === undefined ? "" : ` for ${(message.thoughtMs / 1000).toFixed(0)} s`;
  return (
    <details class="reasoning" open={open}>
      {/* Not the toggle event: it comes late, and would undo a folding that came meanwhile. */}
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a summary is a button, by mouse and by keyboard */}
      <summary
        onClick={(event) => {
          event.preventDefault();
          setOpen(!open);
        }}
      >
        {live && open ? "Thinking" : `Thought${seconds}`}
      </summary>
      <p>{text}</p>
    </details>
  );
}

/** Why an answer ended before the model wished, and what can be done. */
function Ending({
  message,
  last,
  onSettings,
}: {
  readonly message: Message;
  readonly last: boolean;
  readonly onSettings: () => void;
}) {
  const ended = message.ended;
  if (ended?.finishReason === "length")
    return (
      <p class="state">
        Stopped at your limit of {ended.completionTokens.toLocaleString("en")} tokens.{" "}
        <button type="button" onClick={onSettings}>
          Raise the limit
        </button>
      </p>
    );
  if (ended?.finishReason !== "context") return null;
  const size = state.info.value?.contextSize;
  return (
    <div class="state">
      <p>The context{size ? ` of ${size.toLocaleString("en")} tokens` : ""} is full.</p>
      {last ? (
        <p class="row">
          {state.contextActions().map(({ label, run }) => (
            <button type="button" key={label} onClick={run}>
              {label}
            </button>
          ))}
        </p>
      ) : null}
    </div>
  );
}

function Figures({ message, ended }: { readonly message: Message; readonly ended: Ended }) {
  const { completionTokens, promptTokens, cachedTokens, tokensPerSecond, prefillMs, finishReason } = ended;
  const rows = [
    ["Model", message.model],
    [
      "Tokens read",
      `${promptTokens.toLocaleString("en")}${cachedTokens ? `, ${cachedTokens.toLocaleString("en")} of them kept from before` : ""}`,
    ],
    ["Time to the first", prefillMs === undefined ? "" : `${(prefillMs / 1000).toFixed(2)} s`],
    ["Ended by", { stop: "the model", length: "the limit of tokens", context: "the context's end" }[finishReason]],
  ].filter(([, value]) => value);
  return (
    <details class="figures">
      <summary>
        {completionTokens} {completionTokens === 1 ? "token" : "tokens"}
        {tokensPerSecond > 0 ? `, ${tokensPerSecond.toFixed(1)} tokens/s` : ""}
      </summary>
      <dl>
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

function Foot({ message, onEdit }: { readonly message: Message; readonly onEdit: () => void }) {
  const all = state.siblings(message);
  const at = all.findIndex(({ id }) => id === message.id);
  const [copied, setCopied] = useState(false);
  const busy = state.running.value !== undefined;
  const ended = message.ended;
  return (
    <div class="foot">
      {all.length > 1 ? (
        <span class="branches">
          <button
            type="button"
            aria-label="Previous version"
            disabled={at <= 0 || busy}
            onClick={() => void state.show(all[at - 1]!)}
          >
            ‹
          </button>
          {at + 1}/{all.length}
          <button
            type="button"
            aria-label="Next version"
            disabled={at >= all.length - 1 || busy}
            onClick={() => void state.show(all[at + 1]!)}
          >
            ›
          </button>
        </span>
      ) : null}
      <button
        type="button"
        onClick={() =>
          void copyText(message.text).then((done) => {
            setCopied(done);
            setTimeout(() => setCopied(false), 1500);
          })
        }
      >
        {copied ? "Copied" : "Copy"}
      </button>
      {message.role === "user" ? (
        <button type="button" disabled={busy} onClick={onEdit}>
          Edit
        </button>
      ) : (
        <button type="button" disabled={busy} onClick={() => void state.regenerate(message)}>
          Regenerate
        </button>
      )}
      {ended ? <Figures message={message} ended={ended} /> : null}
    </div>
  );
}

export function MessageView({
  message,
  last,
  onSettings,
}: {
  readonly message: Message;
  readonly last: boolean;
  readonly onSettings: () => void;
}) {
  const [editing, setEditing] = useState<string | undefined>(undefined);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const onEdit = (event: Event) => {
      if ((event as CustomEvent<string>).detail === message.id) setEditing(message.text);
    };
    addEventListener("cpm-edit", onEdit);
    return () => removeEventListener("cpm-edit", onEdit);
  }, [message]);
  useEffect(() => {
    if (editing !== undefined) area.current?.focus();
  }, [editing !== undefined]);
  const resend = async () => {
    const text = editing!;
    setEditing(undefined);
    await state.send(text, message.parent);
  };
  const mine = message.role === "user";
  return (
    <article class={`message ${message.role} ${last ? "last" : ""}`}>
      <h2 class="offscreen">{mine ? "You" : "Answer"}</h2>
      {editing !== undefined ? (
        <form
          class="edit"
          onSubmit={(event) => {
            event.preventDefault();
            void resend();
          }}
        >
          <textarea
            ref={area}
            value={editing}
            aria-label="Edit the message"
            onInput={(event) => setEditing(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.isComposing || event.keyCode === 229) return;
              if (event.key === "Escape") {
                event.stopPropagation();
                setEditing(undefined);
              } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
                event.preventDefault();
                void resend();
              }
            }}
          />
          <button type="submit">Send again</button>
          <button type="button" onClick={() => setEditing(undefined)}>
            Cancel
          </button>
        </form>
      ) : mine ? (
        <p class="body plain" dir="auto">
          {message.text}
        </p>
      ) : (
        <>
          <Reasoning message={message} />
          <Body message={message} />
        </>
      )}
      {message.status === "stopped" ? <p class="state">{message.error?.words ?? "Stopped"}</p> : null}
      <Ending message={message} last={last} onSettings={onSettings} />
      {message.status === "failed" && message.error ? (
        <div class="failed" role="alert">
          {message.error.words}
          <details>
            <summary>Details</summary>
            <code>{message.error.detail}</code>
          </details>
        </div>
      ) : null}
      {message.status === "running" ? <div class="foot" /> : <Foot message={message} onEdit={() => setEditing(message.text)} />}
    </article>
  );
}
