import * as state from "./state.ts";

export function Sidebar({ onClose }: { readonly onClose: () => void }) {
  return (
    <>
      <button type="button" class="veil" aria-label="Close the list" tabIndex={-1} onClick={onClose} />
      <nav class="sidebar" aria-label="Conversations">
        <button
          type="button"
          class="new"
          onClick={() => {
            void state.create();
            onClose();
          }}
        >
          New chat
        </button>
        <ul>
          {state.conversations.value.map(({ id, title }) => (
            <li key={id} class={id === state.current.value ? "current" : ""}>
              <button
                type="button"
                class="title"
                aria-current={id === state.current.value ? "page" : undefined}
                onClick={() => {
                  void state.open(id);
                  onClose();
                }}
              >
                {title}
              </button>
              <button type="button" class="delete" aria-label={`Delete “${title}”`} onClick={() => void state.remove(id)}>
                ✕
              </button>
            </li>
          ))}
        </ul>
        <p class="hint">Conversations belong to this browser and this address.</p>
      </nav>
    </>
  );
}
