// A web client of OFREP as a page has it: prints the flag's value at once and whenever it changes, with Unix milliseconds.
// node web.mjs URL KEY USER
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { EventSource } from 'eventsource';

globalThis.EventSource = EventSource;
const [url, key, user] = process.argv.slice(2);
const client = OpenFeature.getClient();
let shown;

function show() {
  const value = client.getBooleanDetails(key, false);
  if (value.value === shown) return;
  shown = value.value;
  const at = performance.timeOrigin + performance.now();
  process.stdout.write(JSON.stringify({ at, value: value.value, variant: value.variant, reason: value.reason }) + '\n');
}

await OpenFeature.setContext({ targetingKey: user });
client.addHandler(ProviderEvents.ConfigurationChanged, show);
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: url }));
show();
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
