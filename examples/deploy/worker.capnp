# workerd serve examples/deploy/out/worker.capnp, after node examples/deploy/build.mjs
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8080", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  bindings = [
    (name = "MODEL_URL", fromEnvironment = "MODEL_URL"),
    (name = "API_KEY", fromEnvironment = "API_KEY"),
  ],
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "kernels.wasm", wasm = embed "kernels.wasm"),
    (name = "kernels.relaxed.wasm", wasm = embed "kernels.relaxed.wasm"),
    (name = "decide.wasm", wasm = embed "decide.wasm"),
  ],
);
