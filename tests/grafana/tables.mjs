// What Grafana makes of the answers to a table's queries. Reads JSON from its input, a list of {answers,
// transformations}, an answer being a list of fields {name, type, values}; writes for each the list of columns
// {name, title, values}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

globalThis.navigator = { language: 'en-US', languages: ['en-US'] };
const data = createRequire(import.meta.url)('@grafana/data');
const { getFieldDisplayName, standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame } = data;

globalThis.window = globalThis; // only now: what is loaded before takes this for a browser
const known = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() =>
  [...known.values()].map((one) => ({ id: one.id, name: one.name, transformation: async () => one }))
);

const columns = ({ answers, transformations }) =>
  new Promise((resolve) => {
    const frames = answers.map((fields, index) => toDataFrame({ refId: String.fromCharCode(65 + index), fields }));
    transformDataFrame(transformations, frames).subscribe(([frame]) =>
      resolve(
        frame.fields.map((field) => ({
          name: field.name,
          title: getFieldDisplayName(field, frame),
          values: field.values,
        }))
      )
    );
  });
process.stdout.write(JSON.stringify(await Promise.all(JSON.parse(readFileSync(0, 'utf-8')).map(columns))));
