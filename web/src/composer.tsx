import { useEffect, useRef, useState } from "preact/hooks";
import * as state from "./state.ts";

/** Touch screens break lines with Enter; everything else sends. */
const coarse = matchMedia("(pointer: coarse)");

export function Composer() {
  const area = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState("");
  const current = state.current.value;
  const running = state.running.value !== undefined;
  /** A second click where Send just stood must not stop the answer. */
  const sent = useRef(0);

  useEffect(() => {
    setText(state.conversation.peek()?.draft ?? "");
    if (!coarse.matches) area.current?.focus();
  }, [current]);

  const restored = state.restored.value;
  useEffect(() => {
    if (restored) setText(restored.text);
  }, [restored]);

  const submit = async () => {
    sent.current = performance.now();
    const value = text;
    if (await state.send(value)) setText("");
    area.current?.focus();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "ArrowUp" && text === "") {
      const last = state.path.peek().findLast((message) => message.role === "user");
      if (last) dispatchEvent(new CustomEvent("cpm-edit", { detail: last.id }));
      return;
    }
    const always = event.ctrlKey || event.metaKey;
    if (event.key !== "Enter" || (event.shiftKey && !always) || (coarse.matches && !always)) return;
    event.preventDefault();
    if (!running) void submit();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (!running) void submit();
      }}
    >
      <textarea
        ref={area}
        rows={1}
        value={text}
        placeholder="Write a message"
        aria-label="Message"
        enterkeyhint={coarse.matches ? "enter" : "send"}
        onInput={(event) => {
          setText(event.currentTarget.value);
          void state.keepDraft(event.currentTarget.value);
        }}
        onKeyDown={onKey}
      />
      {running ? (
        <button
          type="button"
          class="send"
          onClick={() => {
            if (performance.now() - sent.current < 300) return;
            state.stop();
            area.current?.focus();
          }}
        >
          Stop
        </button>
      ) : (
        <button type="submit" class="send" disabled={text.trim() === ""}>
          Send
        </button>
      )}
    </form>
  );
}
