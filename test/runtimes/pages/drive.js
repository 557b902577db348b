// Drives the browser example: sets the fields, presses the button, waits for the end and posts what is seen.
const get = (id) => document.getElementById(id);
const post = (result) => fetch("/results", { method: "POST", body: JSON.stringify(result) });

addEventListener("error", (event) => post({ error: event.message }));
addEventListener("unhandledrejection", (event) => post({ error: String(event.reason) }));

get("temperature").value = "0";
get("tokens").value = "64";
get("go").click();
const timer = setInterval(() => {
  const idle = get("go").textContent === "Generate";
  if (!idle) return;
  clearInterval(timer);
  const seen = Object.fromEntries(
    ["text", "threads", "isolated", "variant", "speed", "memory", "note"].map((id) => [id, get(id).textContent]),
  );
  void post({ ...seen, finished: document.body.dataset.finished });
}, 20);
