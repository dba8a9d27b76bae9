// Sends forms and files with Node's fetch, and compares what arrived, octet for octet. usage: clients.mjs PORT
import assert from "node:assert/strict";

const url = `http://127.0.0.1:${process.argv[2]}/`;
const sent = async (body) => {
  const answer = await fetch(url, { method: "POST", body });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
};
const octets = (text) => Buffer.from(text, "latin1");
const text = (value) => octets(value).toString("utf8");

const fields = [["a", "1"], ["a", ""], ["näme &=+%", "välue\r\n \0"], ["", "x"]];
assert.deepEqual((await sent(new URLSearchParams(fields))).form.map((pair) => pair.map(text)), fields);

const everything = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
const contents = [Buffer.alloc(0), Buffer.from("\r\n--"), everything, Buffer.from("\r\n--".repeat(50_000)), Buffer.concat(Array(4000).fill(everything))];
for (const name of ["plain.txt", "sp ace;semi.bin", 'quo"te', "ünï.txt", "new\r\nline", "back\\slash"]) {
  const form = new FormData();
  form.append("field", "välue");
  contents.forEach((content, index) => form.append(`file${index}`, new Blob([content], { type: "application/x-test" }), name));
  const { parts } = await sent(form);
  assert.equal(parts.length, contents.length + 1);
  assert.deepEqual([text(parts[0].name), text(parts[0].body), parts[0].filename], ["field", "välue", null]);
  parts.slice(1).forEach((part, index) => {
    assert.deepEqual([text(part.name), text(part.filename), part.content_type], [`file${index}`, name, "application/x-test"]);
    assert.ok(octets(part.body).equals(contents[index]), `content ${index} of ${name}`);
  });
}
assert.deepEqual((await sent(new FormData())).parts, []);
console.log("fetch: all arrived");
