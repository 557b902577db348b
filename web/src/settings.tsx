import { useEffect, useRef, useState } from "preact/hooks";
import type { Backend, Sampling } from "./backend.ts";
import { ModelCards } from "./modelcards.tsx";
import { ServeBackend } from "./serve.ts";
import * as state from "./state.ts";
import { defaultSampling } from "./store.ts";

interface Field {
  readonly name: "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty" | "seed" | "maxTokens";
  readonly label: string;
  readonly least: number;
  readonly most?: number;
  readonly step: number | "any";
  readonly empty?: string;
}

const fields: readonly Field[] = [
  { name: "temperature", label: "Temperature (0: always the likeliest)", least: 0, most: 5, step: 0.1 },
  { name: "topK", label: "Top-k (0: all)", least: 0, step: 1 },
  { name: "topP", label: "Top-p", least: 0.01, most: 1, step: 0.01 },
  { name: "minP", label: "Min-p", least: 0, most: 1, step: 0.01 },
  { name: "repetitionPenalty", label: "Repetition penalty (1: off)", least: 0.5, most: 2, step: 0.05 },
  { name: "maxTokens", label: "Tokens of an answer, at most", least: 1, step: 1, empty: "until the model stops" },
  { name: "seed", label: "Seed", least: 0, step: 1, empty: "random" },
];

function NumberField({ field }: { readonly field: Field }) {
  const value = state.sampling.value[field.name];
  const onInput = (event: { currentTarget: HTMLInputElement }) => {
    const { value: text, validity } = event.currentTarget;
    if (text === "" && field.empty) state.setSampling({ [field.name]: undefined } as Partial<Sampling>);
    else if (validity.valid && text !== "") state.setSampling({ [field.name]: Number(text) });
  };
  return (
    <label>
      {field.label}
      <input
        type="number"
        inputMode="decimal"
        min={field.least}
        max={field.most}
        step={field.step}
        value={value ?? ""}
        placeholder={field.empty ?? String(defaultSampling[field.name] ?? "")}
        onInput={onInput}
      />
    </label>
  );
}

function ModelPicker({ backend }: { readonly backend: Backend }) {
  return (
    <fieldset>
      <legend>Model</legend>
      {backend.home === "page" ? (
        <ModelCards />
      ) : (
        <label>
          Model
          <select value={state.info.value?.model} onChange={(event) => void state.choose(event.currentTarget.value)}>
            {[...new Set([...(state.info.value ? [state.info.value.model] : []), ...state.models.value])].map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      {state.info.value ? <p class="hint">{state.info.value.detail}</p> : null}
    </fieldset>
  );
}

export function Settings({ backend, onClose }: { readonly backend: Backend; readonly onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [theme, setTheme] = useState(document.documentElement.dataset["theme"] ?? "system");
  const [key, setKey] = useState(backend instanceof ServeBackend ? backend.key : "");
  useEffect(() => {
    dialog.current!.showModal();
  }, []);
  const chooseTheme = (next: string) => {
    setTheme(next);
    if (next === "system") {
      delete document.documentElement.dataset["theme"];
      localStorage.removeItem("cpm-theme");
    } else {
      document.documentElement.dataset["theme"] = next;
      localStorage.setItem("cpm-theme", next);
    }
  };
  const save = (text: string, name: string, type: string) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const saveJson = async (all: boolean) => save(await state.exported(all), all ? "chats.json" : "chat.json", "application/json");
  return (
    <dialog class="settings" ref={dialog} aria-labelledby="settings-title" onClose={onClose} onCancel={onClose}>
      <div class="settings-head">
        <h2 id="settings-title">Settings</h2>
        <button type="button" aria-label="Close the settings" onClick={onClose}>
          ✕
        </button>
      </div>
      <ModelPicker backend={backend} />
      {backend instanceof ServeBackend ? (
        <label>
          API key, kept until this tab closes
          <input
            type="password"
            autocomplete="off"
            value={key}
            onInput={(event) => {
              setKey(event.currentTarget.value);
              backend.key = event.currentTarget.value;
            }}
            onChange={() => void state.refreshModels()}
          />
        </label>
      ) : null}
      <fieldset>
        <legend>This conversation</legend>
        <label>
          System prompt
          <textarea
            rows={3}
            value={state.conversation.value?.system ?? ""}
            onInput={(event) => void state.setSystem(event.currentTarget.value)}
          />
        </label>
        <div class="row">
          <button type="button" onClick={() => void saveJson(false)}>
            Save as a file
          </button>
          <button type="button" onClick={() => save(state.markdownOf(), "chat.md", "text/markdown")}>
            As Markdown
          </button>
        </div>
      </fieldset>
      <fieldset>
        <legend>All conversations</legend>
        <p class="hint">They belong to this browser and this address.</p>
        <button type="button" onClick={() => void saveJson(true)}>
          Save all as a file
        </button>
        <label>
          Read conversations from a file
          <input
            type="file"
            accept=".json,application/json"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              event.currentTarget.value = "";
              if (file) void state.imported(file).then(onClose);
            }}
          />
        </label>
      </fieldset>
      <fieldset>
        <legend>Sampling</legend>
        {fields.map((field) => (
          <NumberField key={field.name} field={field} />
        ))}
        <label>
          Thinking
          <select
            value={state.sampling.value.thinking}
            onChange={(event) => state.setSampling({ thinking: event.currentTarget.value as Sampling["thinking"] })}
          >
            <option value="model">as the model says</option>
            <option value="on">on</option>
            <option value="off">off</option>
          </select>
        </label>
        {backend.home === "page" ? (
          <label>
            When the context is full
            <select
              value={state.sampling.value.whenFull}
              onChange={(event) => state.setSampling({ whenFull: event.currentTarget.value as Sampling["whenFull"] })}
            >
              <option value="stop">stop</option>
              <option value="slide">forget the oldest text</option>
            </select>
          </label>
        ) : null}
        <button type="button" onClick={() => state.setSampling(defaultSampling)}>
          Reset
        </button>
      </fieldset>
      <fieldset>
        <legend>Page</legend>
        <label>
          Theme
          <select value={theme} onChange={(event) => chooseTheme(event.currentTarget.value)}>
            <option value="system">as the system</option>
            <option value="light">light</option>
            <option value="dark">dark</option>
          </select>
        </label>
      </fieldset>
    </dialog>
  );
}
