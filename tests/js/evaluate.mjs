// Reads {"flags": document, "contexts": [...]} from stdin and prints, for each flag, the variant of each context.
import { FlagdCore } from '@openfeature/flagd-core';
import { readFileSync } from 'node:fs';

const { document, contexts } = JSON.parse(readFileSync(0, 'utf8'));
const silent = { error() {}, warn() {}, info() {}, debug() {} };
const core = new FlagdCore(undefined, silent);
core.setConfigurations(JSON.stringify(document));
const seen = Object.keys(document.flags).map((key) => [
  key,
  contexts.map((context) => core.resolveBooleanEvaluation(key, false, context, silent).variant ?? null),
]);
process.stdout.write(JSON.stringify(Object.fromEntries(seen)));
