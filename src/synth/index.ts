// cpm-wasm/synth: fine-tuning data that is checked while it is made. A wing: nothing of the core imports it.
export { EndpointError, type EndpointOptions, endpointModel } from "../chat/endpoint.ts";
export type { ChatAnswer, ChatModel, ChatReply } from "../chat/model.ts";
export { answerOf, type RetryOptions } from "../chat/retry.ts";
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export { checkConfig, needsSandbox } from "./config.ts";
export { type Constraint, constraintNames, drawConstraints, readConstraints } from "./constraints.ts";
export { type Done, isEntry, type Journal, journalLine, journalValue, memoryJournal } from "./journal.ts";
export { Random } from "./random.ts";
export { emptyReport, type FamilyReport, type SynthReport, settled, synthPage, synthPicture, textOfRecord } from "./report.ts";
export { type SynthEnd, type Synthesised, type SynthOptions, type SynthProgress, settingsHash, synthesise } from "./run.ts";
export { builtIn as builtInTemplates } from "./templates.ts";
export * from "./types.ts";
