#!/usr/bin/env bash
# Software: @asyncapi/modelina 5.10.1, on Node 18 or newer.
#
# Behaviour: an optional text written as `anyOf` of string and null, as many Python libraries write it into JSON Schema and OpenAPI,
# becomes an untyped field in Java (`Object`), Kotlin (`Any?`) and C# (`dynamic?`), and Java gets a second model whose name is empty.
# TypeScript keeps the type. Nothing is reported.
#
# Expected: what the same generators make of `type: [string, null]`, which means the same: `String`, `String?` and `string?`.
#
# Seen:
#   type: [string, null]  Java        "Order"     private String note;
#   type: [string, null]  Kotlin      "Order"     val note: String? = null,
#   type: [string, null]  CSharp      "Order"     private string? note;
#   type: [string, null]  TypeScript  "Order"     private _note?: string | null;
#   anyOf string, null    Java        "","Order"  private Object note;
#   anyOf string, null    Kotlin      "Order"     val note: Any? = null,
#   anyOf string, null    CSharp      "Order"     private dynamic? note;
#   anyOf string, null    TypeScript  "Order"     private _note?: string | null;
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit @asyncapi/modelina@5.10.1 || exit 2

cat >seen.mjs <<'JS'
import { CSharpGenerator, JavaGenerator, KotlinGenerator, TypeScriptGenerator } from "@asyncapi/modelina";

const ways = {
  "type: [string, null]": { type: ["string", "null"] },
  "anyOf string, null": { anyOf: [{ type: "string" }, { type: "null" }] },
};
const generators = { Java: JavaGenerator, Kotlin: KotlinGenerator, CSharp: CSharpGenerator, TypeScript: TypeScriptGenerator };
for (const [way, note] of Object.entries(ways)) {
  for (const [language, Generator] of Object.entries(generators)) {
    const schema = {
      $schema: "http://json-schema.org/draft-07/schema#",
      $id: "Order",
      type: "object",
      properties: { note },
      additionalProperties: false,
    };
    const models = await new Generator().generate(schema);
    const order = models.find((model) => model.modelName === "Order");
    const field = order.result.split("\n").find((line) => /note/i.test(line)).trim();
    const names = models.map((model) => JSON.stringify(model.modelName)).join();
    console.log(`${way.padEnd(21)} ${language.padEnd(11)} ${names.padEnd(11)} ${field}`);
  }
}
JS
node seen.mjs | tee seen.txt
for line in \
  'type: \[string, null\]  *Java .*private String note;' \
  'type: \[string, null\]  *Kotlin .*val note: String? = null,' \
  'type: \[string, null\]  *CSharp .*private string? note;' \
  'anyOf string, null  *Java  *"","Order"  *private Object note;' \
  'anyOf string, null  *Kotlin .*val note: Any? = null,' \
  'anyOf string, null  *CSharp .*private dynamic? note;' \
  'anyOf string, null  *TypeScript .*private _note?: string | null;'; do
  grep -q "^$line$" seen.txt || { echo "no longer seen: $line"; exit 1; }
done
