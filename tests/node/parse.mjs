// Parses AsyncAPI documents with the official parser, and prints for each what it read and what it complains about.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const parser = new Parser();
const read = [];
for (const path of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(readFileSync(path, 'utf8'));
  read.push({
    diagnostics: diagnostics.map(({ severity, message, path }) => ({ severity, message, path: path.join('/') })),
    channels: document?.allChannels().all().map((channel) => ({
      address: channel.address(),
      bindings: channel.bindings().get('kafka')?.value(),
      messages: channel.messages().all().map((message) => ({
        name: message.name(),
        correlation: message.correlationId()?.location(),
        headers: message.headers()?.json(),
        payload: message.payload()?.json(),
      })),
    })),
    operations: document?.allOperations().all().map((operation) => ({
      id: operation.id(),
      action: operation.action(),
      channels: operation.channels().all().map((channel) => channel.address()),
      reply: operation.reply() ? {
        channel: operation.reply().channel().address(),
        messages: operation.reply().messages().all().map((message) => message.name()),
      } : null,
    })),
  });
}
console.log(JSON.stringify(read));
