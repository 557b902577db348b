# workerd's configuration for the bundle that build.mjs makes.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  modules = [
    (name = "worker.js", esModule = embed "out/worker.js"),
    (name = "kernels.wasm", wasm = embed "out/kernels.wasm"),
    (name = "kernels.relaxed.wasm", wasm = embed "out/kernels.relaxed.wasm"),
    (name = "decide.wasm", wasm = embed "out/decide.wasm"),
    (name = "constrain.wasm", wasm = embed "out/constrain.wasm"),
    (name = "stories-q4_0.gguf", data = embed "out/stories-q4_0.gguf"),
  ],
);
