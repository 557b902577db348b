// A folded classifier that the platform hands over as bytes.
declare module "*.fold" {
  const bytes: ArrayBuffer;
  export default bytes;
}
