// Files that the platform hands over as bytes.
declare module "*.gguf" {
  const bytes: ArrayBuffer;
  export default bytes;
}
