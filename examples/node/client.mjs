// A client of a qstore-db server, written from docs/protocol.md alone.
import net from "node:net";
import { randomBytes } from "node:crypto";
import { Encoder, Decoder, ExtensionCodec, decode } from "@msgpack/msgpack";

const KIND = { HELLO: 1, REQUEST: 2, RESPONSE: 3, ERROR: 4, CHUNK: 7, END: 8, WINDOW: 9, PING: 10, PONG: 11, GOAWAY: 12 };
const WINDOW = 1 << 20;
const DTYPES = { 1: Float32Array, 2: Float64Array, 3: BigInt64Array, 4: Uint8Array };
const aligned = (length) => Math.ceil(length / 8) * 8;

/** Numbers with a shape; `new Matrix(Float32Array.of(...), [2, 3])` is two rows of three. */
export class Matrix {
  constructor(values, shape = [values.length]) {
    this.values = values;
    this.shape = shape;
  }
}

export class QstoreError extends Error {
  constructor({ code, message, subject, retryable }) {
    super(message);
    Object.assign(this, { code, subject, retryable });
  }
}

function frameOf(kind, id, op, body) {
  const attachments = [];
  const extensionCodec = new ExtensionCodec();
  extensionCodec.register({
    type: 1,
    encode(value) {
      if (!(value instanceof Matrix)) return null;
      const dtype = Number(Object.keys(DTYPES).find((code) => value.values instanceof DTYPES[code]));
      attachments.push(new Uint8Array(value.values.buffer, value.values.byteOffset, value.values.byteLength));
      const reference = new DataView(new ArrayBuffer(2 + 4 * value.shape.length));
      reference.setUint8(0, dtype);
      reference.setUint8(1, value.shape.length);
      value.shape.forEach((length, axis) => reference.setUint32(2 + 4 * axis, length));
      return new Uint8Array(reference.buffer);
    },
    decode: () => null,
  });
  const head = new Encoder({ extensionCodec }).encode([kind, id, op, body]);
  const start = aligned(8 + head.length);
  const frame = Buffer.alloc(start + attachments.reduce((sum, each) => sum + aligned(each.length), 0));
  frame.writeUInt32BE(frame.length, 0);
  frame.writeUInt32BE(head.length, 4);
  frame.set(head, 8);
  let at = start;
  for (const each of attachments) {
    frame.set(each, at);
    at += aligned(each.length);
  }
  return frame;
}

function messageOf(frame) {
  const length = frame.readUInt32BE(4);
  let at = aligned(8 + length);
  const extensionCodec = new ExtensionCodec();
  extensionCodec.register({
    type: 1,
    encode: () => null,
    decode(reference) {
      const view = new DataView(reference.buffer, reference.byteOffset, reference.byteLength);
      const shape = Array.from({ length: view.getUint8(1) }, (_, axis) => view.getUint32(2 + 4 * axis));
      const type = DTYPES[view.getUint8(0)];
      const bytes = shape.reduce((product, each) => product * each, 1) * type.BYTES_PER_ELEMENT;
      const copy = Uint8Array.prototype.slice.call(frame, at, at + bytes); // starts at 0 of its own memory
      at += aligned(bytes);
      return new Matrix(new type(copy.buffer), shape);
    },
  });
  const [kind, id, op, body] = new Decoder({ extensionCodec }).decode(frame.subarray(8, 8 + length));
  return { kind, id, op, body, nbytes: frame.length };
}

/** What several parts hold under one name is one after the other. */
function joined(parts) {
  const whole = {};
  for (const part of parts) {
    for (const [name, value] of Object.entries(part)) {
      const before = whole[name];
      if (before === undefined) whole[name] = value;
      else if (Array.isArray(before)) whole[name] = before.concat(value);
      else {
        const values = new before.values.constructor(before.values.length + value.values.length);
        values.set(before.values);
        values.set(value.values, before.values.length);
        whole[name] = new Matrix(values, [before.shape[0] + value.shape[0], ...before.shape.slice(1)]);
      }
    }
  }
  return whole;
}

/** The matches of the first query in a body of results. */
export function matchesOf(body) {
  return body.ids.map((id, row) => {
    const match = { id };
    const width = body.columns.length;
    body.columns.forEach((name, column) => (match[name] = body.values.values[row * width + column]));
    const start = row ? body.record_ends[row - 1] : 0;
    match.metadata = decode(body.records.values.subarray(start, body.record_ends[row]))[3];
    return match;
  });
}

export class Client {
  #socket;
  #received = Buffer.alloc(0);
  #waiting = new Map();
  #last = 0;

  static async connect(host, port, token = null) {
    const client = new Client();
    client.#socket = net.connect(port, host).setNoDelay();
    client.#socket.on("data", (data) => client.#take(data));
    client.#socket.on("close", () => client.#fail(new Error("the server closed the connection")));
    client.#socket.on("error", (error) => client.#fail(error));
    const hello = { version: 1, token, agent: "example/1 (node)", window: WINDOW };
    client.server = await client.#exchange(0, frameOf(KIND.HELLO, 0, "", hello));
    return client;
  }

  call(op, fields = {}) {
    const id = ++this.#last;
    return this.#exchange(id, frameOf(KIND.REQUEST, id, op, fields));
  }

  /** A write under a key of its own, so that it may be sent again after a lost connection. */
  write(op, fields) {
    const key = randomBytes(16);
    key.writeUIntBE(Date.now(), 0, 6);
    return this.call(op, { ...fields, $key: key });
  }

  close() {
    this.#socket.end();
  }

  #exchange(id, frame) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, parts: [] });
      this.#socket.write(frame);
    });
  }

  #take(data) {
    this.#received = Buffer.concat([this.#received, data]);
    while (this.#received.length >= 8 && this.#received.length >= this.#received.readUInt32BE(0)) {
      const length = this.#received.readUInt32BE(0);
      this.#hear(messageOf(this.#received.subarray(0, length)));
      this.#received = this.#received.subarray(length);
    }
  }

  #hear({ kind, id, body, nbytes }) {
    if (kind === KIND.PING) this.#socket.write(frameOf(KIND.PONG, id, "", null));
    if (kind === KIND.ERROR && id === 0) this.#fail(new QstoreError(body));
    const call = this.#waiting.get(id);
    if (!call) return;
    if (kind === KIND.CHUNK) {
      call.parts.push(body);
      this.#socket.write(frameOf(KIND.WINDOW, id, "", nbytes));
      return;
    }
    if (![KIND.HELLO, KIND.RESPONSE, KIND.END, KIND.ERROR].includes(kind)) return;
    this.#waiting.delete(id);
    if (kind === KIND.ERROR) call.reject(new QstoreError(body));
    else call.resolve(kind === KIND.END ? { ...joined(call.parts), $chunks: call.parts.length } : body);
  }

  #fail(error) {
    for (const call of this.#waiting.values()) call.reject(error);
    this.#waiting.clear();
  }
}
