// Which home, then the page.
import { render } from "preact";
import { App } from "./app.tsx";
import type { Backend, Offer } from "./backend.ts";
import { ServeBackend } from "./serve.ts";
import { start } from "./state.ts";

async function home(): Promise<Backend> {
  const response = await fetch(new URL("config.json", location.href));
  const config = (await response.json()) as { home: "serve" | "page"; models?: readonly Offer[]; endpoint?: string };
  if (config.home === "serve") return new ServeBackend();
  if ("serviceWorker" in navigator && isSecureContext) void navigator.serviceWorker.register("./sw.js").catch(() => {});
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
