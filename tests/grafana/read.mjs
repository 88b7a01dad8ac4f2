// How Grafana shows some values: as text, with unit and colour. Reads JSON from its input, a list of fields
// {config, values, name}; writes for each the list of {text, color}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

globalThis.navigator = { language: 'en-US', languages: ['en-US'] };
const { createTheme, getDisplayProcessor } = createRequire(import.meta.url)('@grafana/data');

const theme = createTheme();
const shown = JSON.parse(readFileSync(0, 'utf-8')).map(({ config, values, name }) => {
  const field = { name: name ?? 'value', type: 'number', values: [], config };
  const display = getDisplayProcessor({ field, theme });
  const named = Object.fromEntries(
    (config.thresholds?.steps ?? []).map((step) => [theme.visualization.getColorByName(step.color), step.color])
  );
  const words = (config.mappings ?? []).flatMap((mapping) => Object.values(mapping.options));
  for (const { color } of words) named[theme.visualization.getColorByName(color)] = color;
  return values.map((value) => {
    const { text, prefix = '', suffix = '', color } = display(value);
    return { text: `${prefix}${text}${suffix}`, color: named[color] ?? color };
  });
});
process.stdout.write(JSON.stringify(shown));
