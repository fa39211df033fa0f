// The Lambda Runtime API for a Node.js handler: async handlers and handlers with a callback.
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import fs from "node:fs";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const BASE = "/2018-06-01/runtime/";

function call(method, what, body, headers = {}) {
  if (body !== undefined) headers["content-length"] = Buffer.byteLength(body);
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, agent, method, path: BASE + what, headers }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("end", () => resolve({ headers: answer.headers, body: Buffer.concat(pieces).toString() }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

const described = (error) =>
  JSON.stringify({
    errorType: error?.name ?? "Error",
    errorMessage: error?.message ?? String(error),
    trace: String(error?.stack ?? "").split("\n"),
  });

async function load() {
  const whole = process.env._HANDLER;
  const dot = whole.lastIndexOf(".");
  const base = path.resolve(process.env.LAMBDA_TASK_ROOT, whole.slice(0, dot));
  const file = ["", ".js", ".mjs", ".cjs"].map((end) => base + end).find((name) => fs.existsSync(name));
  if (!file) throw Object.assign(new Error(`there is no module ${base}`), { name: "Runtime.ImportModuleError" });
  let module;
  try {
    module = await import(pathToFileURL(file).href);
  } catch (error) {
    if (!/\.js$/.test(file)) throw error;
    module = createRequire(import.meta.url)(file);
  }
  const handler = module[whole.slice(dot + 1)] ?? module.default?.[whole.slice(dot + 1)];
  if (typeof handler !== "function")
    throw Object.assign(new Error(`${whole} is undefined`), { name: "Runtime.HandlerNotFound" });
  return handler;
}

function context(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    callbackWaitsForEmptyEventLoop: false,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
}

const run = (handler, event, about) =>
  new Promise((resolve, reject) => {
    const result = handler(event, about, (error, value) => (error ? reject(error) : resolve(value)));
    if (typeof result?.then === "function") result.then(resolve, reject);
    else if (handler.length < 3) resolve(result);
  });

const handler = await load().catch(async (error) => {
  console.error(error);
  await call("POST", "init/error", described(error));
  process.exit(1);
});
for (;;) {
  const { headers, body } = await call("GET", "invocation/next");
  const about = context(headers);
  const answer = `invocation/${about.awsRequestId}/`;
  try {
    const value = await run(handler, JSON.parse(body), about);
    await call("POST", answer + "response", JSON.stringify(value ?? null));
  } catch (error) {
    console.error(error);
    await call("POST", answer + "error", described(error));
  }
}
