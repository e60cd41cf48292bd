// node example.mjs HOST PORT [TOKEN]
import { Client, Matrix, matchesOf } from "./client.mjs";

const [host, port, token] = process.argv.slice(2);
const client = await Client.connect(host, Number(port), token ?? null);
console.log(`connected to ${client.server.agent || "a server"} as ${client.server.role}`);

await client.call("db.create_collection", { name: "node", dimension: 3 });
const boot = await client.write("db.put", {
  id: "boot",
  vector: new Matrix(Float32Array.of(0.9, 0.1, 0.3)),
  contexts: [["footwear", 0.7], ["outdoor", 0.3]],
  metadata: { price: 90, text: "naïve ☃" },
  collection: "node",
  exclusive: true,
});
console.log(`stored as op ${boot.sequence}`);

const count = 20_000;
for (let start = 0; start < count; start += 10_000) {
  const rows = Array.from({ length: 10_000 }, (_, row) => start + row);
  await client.write("db.put_many", {
    ids: rows.map((row) => `r${row}`),
    vectors: new Matrix(Float32Array.from(rows.flatMap((row) => [1, row / count, 0])), [rows.length, 3]),
    metadata: rows.map((row) => ({ price: row })),
    collection: "node",
  });
}
console.log(`${(await client.call("db.count", { collection: "node" })).count} records`);

const vector = new Matrix(Float32Array.of(0.9, 0.2, 0.2));
const found = await client.call("db.query", { vector, top_k: 3, filter: { price: { $lt: 200 } }, collection: "node" });
for (const match of matchesOf(found)) {
  console.log(`${match.id} ${match.distance.toFixed(6)} ${JSON.stringify(match.metadata)}`);
}

const all = await client.call("db.query", { vector, top_k: count, include_vectors: true, collection: "node" });
console.log(`${all.ids.length} matches in ${all.$chunks > 1 ? "several" : "one"} parts, vectors ${all.vectors.shape.join(" x ")}`);

try {
  await client.write("db.put", { id: "boot", vector, collection: "node", exclusive: true });
} catch (error) {
  console.log(`refused: ${error.code} (${error.subject})`);
}
client.close();
