// Drives fal's own JavaScript client through one story, and prints what it saw as JSON.
// node drive.mjs HOST STORY [WEBHOOK]; the client differs from a user's by the host alone.

import { createRequire } from "node:module";

const [folder, host, story, webhookUrl] = process.argv.slice(2);
const { createFalClient, ApiError, ValidationError } = createRequire(`${folder}/`)(
  "@fal-ai/client",
);

const ENDPOINT = "fal-ai/flux/dev";
const UNKNOWN = "019f6af7-3088-7f03-b97d-84fec4a3ce12";

function elsewhere(url, init) {
  const moved = new URL(url);
  moved.host = host;
  return fetch(moved, init);
}

const clientWith = (credentials) => createFalClient({ credentials, fetch: elsewhere });
const fal = clientWith(process.env.FAL_KEY);

async function failure(call) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return {
      name: error instanceof ValidationError ? "ValidationError" : "ApiError",
      status: error.status,
      body: error.body,
      requestId: error.requestId,
      isUserTimeout: error.isUserTimeout,
    };
  }
  return null;
}

async function statuses(requestId, options) {
  const seen = [];
  await fal.queue.subscribeToStatus(ENDPOINT, {
    requestId,
    logs: true,
    onQueueUpdate: (update) => seen.push(structuredClone(update)),
    ...options,
  });
  return seen;
}

const stories = {
  async follow() {
    const submitted = await fal.queue.submit(ENDPOINT, {
      input: { prompt: "a red apple", simulate: "plain" },
      webhookUrl,
      priority: "low",
      hint: "session-1",
      startTimeout: 60,
      headers: { "X-Fal-Tags": "team=a" },
      storageSettings: { expiresIn: "1h" },
    });
    const requestId = submitted.request_id;
    const polled = await statuses(requestId, { mode: "polling", pollInterval: 20 });
    const status = await fal.queue.status(ENDPOINT, { requestId, logs: true });
    const { data, requestId: answered } = await fal.queue.result(ENDPOINT, { requestId });
    return { submitted, polled, status, data, answered };
  },
  async stream() {
    const { request_id: requestId } = await fal.queue.submit(ENDPOINT, {
      input: { simulate: "plain" },
    });
    const raw = [];
    const stream = await fal.queue.streamStatus(ENDPOINT, { requestId, logs: true });
    for await (const event of stream) raw.push(event);
    const done = await stream.done();
    const streamed = await statuses(requestId, { mode: "streaming" });
    return { requestId, raw, done, streamed };
  },
  async subscribe() {
    const updates = [];
    const { data, requestId } = await fal.subscribe(ENDPOINT, {
      input: { simulate: "plain" },
      pollInterval: 20,
      onQueueUpdate: (update) => updates.push(update.status),
    });
    return { data, requestId, updates };
  },
  async cancel() {
    const { request_id: requestId } = await fal.queue.submit(ENDPOINT, {
      input: { simulate: "stuck" },
    });
    const cancelled = await failure(() => fal.queue.cancel(ENDPOINT, { requestId }));
    const status = await fal.queue.status(ENDPOINT, { requestId });
    const again = await failure(() => fal.queue.cancel(ENDPOINT, { requestId }));
    const unknown = await failure(() => fal.queue.cancel(ENDPOINT, { requestId: UNKNOWN }));
    return { requestId, cancelled, status, again, unknown };
  },
  async errors() {
    const ended = async (simulate, options) => {
      const { request_id: requestId } = await fal.queue.submit(ENDPOINT, {
        input: { simulate },
        ...options,
      });
      await statuses(requestId, { mode: "streaming" });
      return failure(() => fal.queue.result(ENDPOINT, { requestId }));
    };
    const unknown = { requestId: UNKNOWN };
    return {
      model: await ended("error_422"),
      path: await ended("error_null_payload"),
      deadline: await ended("stuck", { startTimeout: 1.1 }),
      unknown: await failure(() => fal.queue.status(ENDPOINT, unknown)),
      key: await failure(() => clientWith("id:wrong").queue.status(ENDPOINT, unknown)),
    };
  },
  async submit() {
    const input = { simulate: "stuck" };
    return failure(() => fal.queue.submit(ENDPOINT, { input }));
  },
};

console.log(JSON.stringify(await stories[story]()));
