// Stock as a Node team writes it with kafkajs: takes an order's products, all or none, and gives them back when Order asks for it.
// A repeated request gets the same answer and takes nothing. State is in memory.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Kafka, logLevel } from "kafkajs";

const { PARTNER_BOOTSTRAP, PARTNER_PORT } = process.env;
const REQUESTS = "order-created";
const ROLLBACKS = "stock-rollback-requested-topic";

const kafka = new Kafka({ clientId: "stock", brokers: PARTNER_BOOTSTRAP.split(","), logLevel: logLevel.WARN });
const producer = kafka.producer();
const consumer = kafka.consumer({ groupId: "stock-group" });
const shelf = new Map();
const decided = new Map();
const taken = new Map();
let ready = false;

const decide = ({ orderId, products }) => {
  if (products.some(({ productId, quantity }) => (shelf.get(productId) ?? 0) < quantity)) return "FAILED";
  for (const { productId, quantity } of products) shelf.set(productId, shelf.get(productId) - quantity);
  taken.set(orderId, products);
  return "SUCCESS";
};

const send = (topic, orderId, answers) =>
  producer.send({ topic, messages: answers.map((answer) => ({ key: orderId, value: JSON.stringify(answer) })) });

const requested = (request) => {
  const { orderId, products } = request;
  if (!decided.has(orderId)) decided.set(orderId, decide(request));
  const status = decided.get(orderId);
  const message = status === "SUCCESS" ? "stock decreased" : "out of stock";
  return send("stock-response-topic", orderId, products.map(({ productId }) => ({ orderId, productId, status, message })));
};

const rollback = ({ orderId }) => {
  for (const { productId, quantity } of taken.get(orderId) ?? []) shelf.set(productId, shelf.get(productId) + quantity);
  taken.delete(orderId);
  return send("stock-rollback-completed-topic", orderId, [{ orderId }]);
};

const answer = (response, code, body) => {
  response.writeHead(code, { "Content-Type": "application/json" }).end(JSON.stringify(body));
};

const server = createServer(async (request, response) => {
  const [, product] = request.url.match(/^\/api\/v1\/products(?:\/(.+))?$/) ?? [];
  if (request.url === "/partner/ready") return answer(response, ready ? 200 : 503, { ready });
  if (product) return answer(response, 200, { productId: product, available: shelf.get(product) });
  let body = "";
  for await (const part of request) body += part;
  const productId = randomUUID();
  shelf.set(productId, JSON.parse(body).quantity);
  return answer(response, 201, { productId });
});

consumer.on(consumer.events.GROUP_JOIN, () => (ready = true));
consumer.on(consumer.events.CRASH, ({ payload }) => {
  if (!payload.restart) {
    console.error(payload.error);
    process.exit(1);
  }
});
process.on("SIGTERM", () => process.exit(0));
await producer.connect();
await consumer.connect();
await consumer.subscribe({ topics: [REQUESTS, ROLLBACKS], fromBeginning: true });
await consumer.run({
  eachMessage: ({ topic, message }) => (topic === REQUESTS ? requested : rollback)(JSON.parse(message.value)),
});
server.listen(Number(PARTNER_PORT), "127.0.0.1");
