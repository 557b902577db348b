// Keeps the page, its scripts and its kernels, so that it opens without a network. Only where the model runs in the page; models
// themselves lie in the browser's own file system, which this never touches.
const NAME = "cpm-chat-1";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin || request.headers.has("range")) return;
  event.respondWith(answer(request));
});

/** The network's answer while there is one, so that a new build is never mixed with an old one; else what was kept. */
async function answer(request) {
  const cache = await caches.open(NAME);
  try {
    const response = await fetch(request);
    if (response.ok && response.type === "basic") await cache.put(request, response.clone());
    return isolating(response);
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return isolating(kept);
    throw error;
  }
}

/** With the headers that let a page share memory among threads, as many hosts of files cannot be told to send them. */
function isolating(response) {
  if (response.type === "opaqueredirect" || response.headers.has("cross-origin-embedder-policy")) return response;
  const headers = new Headers(response.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}
