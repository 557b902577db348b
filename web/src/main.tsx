// Which home, then the page.
import { render } from "preact";
import { App } from "./app.tsx";
import type { Backend, Offer } from "./backend.ts";
import { ServeBackend } from "./serve.ts";
import { start } from "./state.ts";

/** Marks that this tab was opened anew for threads, so that it happens once. */
const REOPENED = "cpm-chat reopened";

/**
 * The service worker keeps the page for times without a network, and gives it the headers that threads need where the host sends none: those count
 * from the next opening on, so the page opens itself once more. Where that does not help, or storage or workers are refused, there is one thread.
 */
async function keep(): Promise<void> {
  if (!("serviceWorker" in navigator) || !isSecureContext) return;
  const registered = navigator.serviceWorker.register("./sw.js").catch(() => undefined);
  if (crossOriginIsolated || window.top !== window || !(await registered)) return;
  try {
    if (sessionStorage.getItem(REOPENED)) return;
    sessionStorage.setItem(REOPENED, "1");
  } catch {
    return;
  }
  await navigator.serviceWorker.ready;
  location.reload();
  await new Promise(() => {}); // until the page is gone
}

async function home(): Promise<Backend> {
  const response = await fetch(new URL("config.json", location.href));
  const config = (await response.json()) as { home: "serve" | "page"; models?: readonly Offer[]; endpoint?: string };
  if (config.home === "serve") return new ServeBackend();
  await keep();
  const { PageBackend } = await import("./page.ts");
  return new PageBackend(config.models ?? [], config.endpoint);
}

const root = document.getElementById("app")!;
home().then(
  async (backend) => {
    render(<App backend={backend} />, root);
    await start(backend);
  },
  (error: unknown) => {
    root.textContent = `This page could not start: ${error instanceof Error ? error.message : String(error)}. Reload it.`;
  },
);
