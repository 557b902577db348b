// Drives the browser example by keys, clicks and drops, as a person would, and posts what is seen.
const get = (id) => document.getElementById(id);
const post = (result) => fetch("/results", { method: "POST", body: JSON.stringify(result) });

addEventListener("error", (event) => post({ error: event.message }));
addEventListener("unhandledrejection", (event) => post({ error: String(event.reason) }));

const until = async (wanted) => {
  while (!wanted()) await new Promise((resolve) => setTimeout(resolve, 20));
};
const ended = () => until(() => get("go").textContent === "Generate");
const place = (id) => Math.round(get(id).getBoundingClientRect().top);
const places = () => [place("output"), place("speed")].join();
const press = (key, more) => get("prompt").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...more }));
const drop = (...files) => {
  const dataTransfer = new DataTransfer();
  for (const file of files) dataTransfer.items.add(file);
  dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
};

async function drive() {
  const steps = {};
  const at = places();
  get("temperature").value = "0";
  get("tokens").value = "64";

  // Without a file nothing else is run instead.
  get("files").click();
  get("go").click();
  await ended();
  steps.nothingChosen = get("error").textContent;
  steps.textThen = get("text").textContent;
  steps.jumped = places() !== at;
  drop(new File(["{}"], "notes.txt"));
  await until(() => get("error").textContent.includes("no model"));

  get("by-url").click();
  get("url").value = new URL("none.gguf", location.href).href;
  press("Enter", { ctrlKey: true });
  await ended();
  steps.missing = get("error").textContent;

  get("embedded").click();
  get("prompt").value = "Once upon a time";
  press("Enter", {});
  steps.enterAlone = get("go").textContent;
  const statuses = new Set();
  new MutationObserver(() => statuses.add(get("status").textContent)).observe(get("status"), { childList: true });
  press("Enter", { ctrlKey: true });
  await until(() => get("text").textContent.length > 0);
  get("go").click();
  await ended();
  steps.stopped = [get("status").textContent, get("error").textContent].join("|");
  steps.percent = [...statuses].some((text) => /^Loading: \d+ %, [\d.]+ of 2\.\d MB$/.test(text));

  // The same model, dropped as a file.
  const bytes = await (await fetch(new URL("stories.gguf", location.href))).arrayBuffer();
  drop(new File([bytes], "stories.gguf"));
  await until(() => get("file-name").textContent.startsWith("stories.gguf"));
  steps.dropped = `${get("file-name").textContent} ${get("files").checked}`;
  press("Enter", { ctrlKey: true });
  await until(() => document.body.dataset.finished !== undefined && get("go").textContent === "Generate");
  steps.jumped ||= place("output") !== Number(at.split(",")[0]);
  const seen = Object.fromEntries(
    ["text", "threads", "isolated", "variant", "speed", "memory", "note", "status", "error"].map((id) => [
      id,
      get(id).textContent,
    ]),
  );
  await post({ ...seen, steps, finished: document.body.dataset.finished });
}

void drive();
