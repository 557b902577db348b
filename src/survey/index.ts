// cpm-wasm/survey: a collection of documents -> a report that cites them. A wing: nothing of the core imports it.
export { type EndpointOptions, endpointModel } from "../chat/endpoint.ts";
export type { ChatModel } from "../chat/model.ts";
export { CpmError } from "../errors.ts";
export { cited, toLatex, toMarkdown } from "./print.ts";
export { type Corpus, httpRetriever, openCorpus, type Passage, type Retriever } from "./retrieve.ts";
export { type SurveyOptions, type SurveyState, writeSurvey } from "./run.ts";
export { outline, positionsOf, type Section, type Survey, unwritten } from "./tree.ts";
export { type Allowed, readTurn, turnGrammar } from "./turn.ts";
