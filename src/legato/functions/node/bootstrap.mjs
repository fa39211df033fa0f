// The Lambda Runtime API for a Node.js handler: async handlers, handlers with a callback, and those that stream.
// What is answered when is as in AWS's own client (aws-lambda-ric 3.3.0, looked at on 2026-11-29).
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
const BASE = "/2018-06-01/runtime/";
const STREAMS = Symbol.for("aws.lambda.runtime.handler.streaming");
const STREAM = "application/vnd.awslambda.http-integration-response";

function opened(method, what, headers) {
  let request;
  const answered = new Promise((resolve, reject) => {
    request = http.request({ host, port, agent, method, path: BASE + what, headers }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("end", () => resolve({ headers: answer.headers, body: Buffer.concat(pieces).toString() }));
    });
    request.on("error", reject);
  });
  return { request, answered };
}

function call(method, what, body) {
  const { request, answered } = opened(method, what, body === undefined ? {} : { "content-length": Buffer.byteLength(body) });
  request.end(body);
  return answered;
}

const named = (name, message) => Object.assign(new Error(message), { name });
const isError = (error) => ["name", "message", "stack"].every((one) => typeof error?.[one] === "string");
const described = (error) =>
  JSON.stringify({
    errorType: isError(error) ? error.name : typeof error,
    errorMessage: isError(error) ? error.message : String(error),
    trace: isError(error) ? error.stack.split("\n") : [],
  });

// -- the handler ----------------------------------------------------------------------------------

globalThis.awslambda = {
  streamifyResponse: (handler) => Object.assign(handler, { [STREAMS]: "response" }),
  HttpResponseStream: {
    from(stream, about) {
      stream.setContentType(STREAM);
      stream.before = Buffer.concat([Buffer.from(JSON.stringify(about)), Buffer.alloc(8)]);
      return stream;
    },
  },
};

function isModule(file) {
  if (/\.mjs$/.test(file)) return true;
  if (!/\.js$/.test(file)) return false;
  for (let folder = path.dirname(file); path.basename(folder) !== "node_modules"; folder = path.dirname(folder)) {
    const about = path.join(folder, "package.json");
    if (fs.existsSync(about)) return JSON.parse(fs.readFileSync(about, "utf8")).type === "module";
    if (folder === path.dirname(folder)) break;
  }
  return false;
}

async function load() {
  const whole = process.env._HANDLER;
  const [, first, names] = /^([^.]*)\.(.+)$/.exec(path.basename(whole)) ?? [];
  if (!names) throw named("Runtime.MalformedHandlerName", `Bad handler: ${whole}`);
  const base = path.resolve(process.env.LAMBDA_TASK_ROOT, path.dirname(whole), first);
  const file = ["", ".js", ".mjs", ".cjs"].map((end) => base + end).find((one) => fs.statSync(one, { throwIfNoEntry: false })?.isFile());
  if (!file) throw named("Runtime.ImportModuleError", `there is no module ${base}`);
  const module = isModule(file) ? await import(pathToFileURL(file).href) : createRequire(file)(file);
  const handler = names.split(".").reduce((found, name) => found?.[name], module);
  if (typeof handler !== "function") throw named("Runtime.HandlerNotFound", `${whole} is undefined or no function`);
  return handler;
}

function context(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const parsed = (name) => (headers[name] === undefined ? undefined : JSON.parse(headers[name]));
  if (headers["lambda-runtime-trace-id"]) process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"];
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    clientContext: parsed("lambda-runtime-client-context"),
    identity: parsed("lambda-runtime-cognito-identity"),
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
}

// -- an invocation --------------------------------------------------------------------------------

// What a handler returns that is no promise does not count. A callback is heard when nothing is left to do, unless
// the handler says otherwise; so is that there was none.
async function returned(handler, event, about) {
  let emptied;
  const once = () => emptied();
  process.once("beforeExit", once);
  try {
    return await new Promise((resolve, reject) => {
      const end = (error, value) => (error === undefined || error === null ? resolve(value) : reject(error));
      emptied = () => resolve(null);
      const callback = (error, value) => {
        if (about.callbackWaitsForEmptyEventLoop) emptied = () => end(error, value);
        else end(error, value);
      };
      Object.assign(about, { done: end, succeed: resolve, fail: (error) => reject(error ?? "handled") });
      const result = handler(event, about, callback);
      if (typeof result?.then === "function") result.then(resolve, reject);
    });
  } finally {
    process.removeListener("beforeExit", once);
  }
}

class Response extends Writable {
  before = Buffer.alloc(0);
  #kind = "application/octet-stream";
  #post;
  #what;

  constructor(what) {
    super();
    this.#what = what;
    this.on("error", () => {}); // who writes to it hears of it by its own ways
  }
  setContentType(kind) {
    if (this.begun) throw named("Runtime.InvalidStreamingOperation", "Cannot set content-type, too late.");
    this.#kind = kind;
  }
  get begun() {
    return this.#post !== undefined;
  }
  write(piece, ...rest) {
    return super.write(typeof piece === "string" || piece instanceof Uint8Array ? piece : JSON.stringify(piece), ...rest);
  }
  // A handler may return before what it pipes here has ended.
  async finished() {
    let look;
    const unfinished = () => this.errored ?? new Error("Response stream is not finished.");
    try {
      await new Promise((resolve, reject) => {
        look = () => (this.writableFinished ? resolve() : reject(unfinished()));
        if (this.closed || this.writableFinished) return look();
        this.on("close", look);
        process.once("beforeExit", look); // nothing will end it any more
      });
    } finally {
      process.removeListener("beforeExit", look);
    }
  }
  #begin() {
    if (this.begun) return;
    this.#post = opened("POST", this.#what, {
      "content-type": this.#kind,
      "lambda-runtime-function-response-mode": "streaming",
      "transfer-encoding": "chunked",
      trailer: ["Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"],
    });
    this.#post.answered.catch(() => {});
    if (this.before.length) this.#post.request.write(this.before);
  }
  _write(piece, encoding, done) {
    this.#begin();
    this.#post.request.write(piece, encoding, done);
  }
  _final(done) {
    this.#begin();
    this.#post.request.end();
    this.#post.answered.then(() => done(), done);
  }
  failed(error) {
    const body = Buffer.from(described(error)).toString("base64");
    this.#post.request.addTrailers({
      "Lambda-Runtime-Function-Error-Type": isError(error) ? error.name : typeof error,
      "Lambda-Runtime-Function-Error-Body": body,
    });
    this.#post.request.end();
    return this.#post.answered;
  }
}

async function streamed(handler, event, about, answer) {
  const stream = new Response(answer + "response");
  try {
    const result = handler(event, stream, about);
    if (typeof result?.then !== "function") throw new Error("Streaming does not support non-async handlers.");
    await result;
    await stream.finished();
  } catch (error) {
    if (!stream.begun) throw error;
    console.error(error);
    await stream.failed(error);
  }
}

let answer = "";
async function dies(error) {
  console.error(error);
  await call("POST", answer ? `${answer}error` : "init/error", described(error)).catch(() => {});
  process.exit(1);
}
process.on("uncaughtException", dies);
process.on("unhandledRejection", (reason) => {
  const error = named("Runtime.UnhandledPromiseRejection", String(reason));
  if (reason?.stack) error.stack = reason.stack;
  return dies(error);
});

const handler = await load().catch(async (error) => {
  console.error(error);
  await call("POST", "init/error", described(error));
  process.exit(1);
});
for (;;) {
  answer = "";
  const { headers, body } = await call("GET", "invocation/next");
  answer = `invocation/${headers["lambda-runtime-aws-request-id"]}/`;
  try {
    const about = context(headers);
    if (handler[STREAMS]) await streamed(handler, JSON.parse(body), about, answer);
    else await call("POST", `${answer}response`, JSON.stringify((await returned(handler, JSON.parse(body), about)) ?? null));
  } catch (error) {
    console.error(error);
    await call("POST", `${answer}error`, described(error));
  }
}
