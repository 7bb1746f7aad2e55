// Makes clients/typescript/types/frames.d.ts from the published schema. `--check` says whether it is up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { compile } from 'json-schema-to-typescript';

const root = new URL('../../../', import.meta.url);
const target = new URL('clients/typescript/types/frames.d.ts', root);
const { schemas, messages } = JSON.parse(readFileSync(new URL('docs/asyncapi.json', root), 'utf8')).components;

const pascal = (name) => name.replace(/(^|[._])([a-z])/g, (_, _dot, letter) => letter.toUpperCase());

// `server.welcome` is Welcome; `server.error` would hide the language's own word, and an event whose payload has
// its name is told apart.
function typeName(name) {
  const [side, kind] = name.split('.');
  if (kind === undefined) return name;
  if (side === 'client') return `Send${pascal(kind)}`;
  if (kind === 'error') return 'ErrorFrame';
  return schemas[pascal(kind)] ? `${pascal(kind)}Event` : pascal(kind);
}

// The codes are an open set: a later host has more.
const OPEN = new Set(['Code']);

function rewritten(node) {
  if (Array.isArray(node)) return node.map(rewritten);
  if (node === null || typeof node !== 'object') return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) =>
      key === '$ref' ? [key, `#/definitions/${typeName(value.split('/').pop())}`] : [key, rewritten(value)],
    ),
  );
}

// A property of which nothing is said may be anything.
const SAYS = ['type', '$ref', 'const', 'enum', 'oneOf', 'anyOf', 'allOf'];
const open = (schema) =>
  Object.fromEntries(
    Object.entries(schema).map(([name, of]) =>
      [
        name,
        typeof of === 'object' && SAYS.some((word) => word in of) ? of : { ...Object(of), tsType: 'unknown' },
      ],
    ),
  );

const definitions = {};
for (const [name, schema] of Object.entries(schemas)) {
  const summary = messages[name]?.summary;
  if (schema.properties) schema.properties = open(schema.properties);
  const body = OPEN.has(name) ? { type: 'string', description: `${schema.description} See docs/codes.md.` } : rewritten(schema);
  definitions[typeName(name)] = { ...body, ...(summary ? { description: summary } : {}), title: typeName(name) };
}
const union = (title, description, names) => ({
  title,
  description,
  oneOf: names.map((name) => ({ $ref: `#/definitions/${typeName(name)}` })),
});
const frames = Object.keys(messages);
const server = frames.filter((name) => name.startsWith('server.'));
const events = server.filter((name) => 'seq' in schemas[name].properties && 'payload' in schemas[name].properties);
definitions.ServerFrame = union('ServerFrame', 'What the host says.', server);
definitions.EventFrame = union('EventFrame', "An event of a thread's log.", events);
definitions.ClientFrame = union('ClientFrame', 'What a client says.', frames.filter((name) => name.startsWith('client.')));

const roots = ['ServerFrame', 'EventFrame', 'ClientFrame'].map((name) => ({ $ref: `#/definitions/${name}` }));
const compiled = await compile({ title: 'Frame', description: 'Any frame.', oneOf: roots, definitions }, 'Frame', {
  bannerComment: '// Generated from docs/asyncapi.json by tests/clients/typescript/generate.mjs. Do not edit.\n',
  additionalProperties: false,
  strictIndexSignatures: false,
  unreachableDefinitions: true,
  style: { printWidth: 120, singleQuote: true },
});

// Where a definition is used by a pattern is no news to a reader.
const text = compiled.replace(/ \*\n \* This interface was referenced by [^\n]*\n \* via [^\n]*\n/g, '');

if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error('clients/typescript/types/frames.d.ts is not that of docs/asyncapi.json: node tests/clients/typescript/generate.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
