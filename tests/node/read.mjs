// Reads COUNT records of a topic with kafkajs as it comes, without a codec beside its own, and prints them.
import { Kafka, logLevel } from 'kafkajs';

const [broker, topic, count] = process.argv.slice(2);
const consumer = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR }).consumer({ groupId: `read-${topic}` });
await consumer.connect();
await consumer.subscribe({ topic, fromBeginning: true });
const read = [];
await consumer.run({
  eachMessage: async ({ message }) => {
    read.push({
      key: message.key.toString(),
      value: JSON.parse(message.value.toString()),
      headers: Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, value.toString()])),
    });
    if (read.length === Number(count)) {
      // A pipe takes the text in parts: an exit before the last one would cut it.
      process.stdout.write(JSON.stringify(read), () => process.exit(0));
    }
  },
});
consumer.on(consumer.events.CRASH, ({ payload }) => {
  console.error(payload.error.message);
  process.exit(1);
});
