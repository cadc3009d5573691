// What the server is asked. Each call gives JSON or throws an ApiError whose message is for people.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let askForToken = async () => {};

/** `ask`: opens the token's dialog and resolves when the token was taken. */
export function whenTokenIsNeeded(ask) {
  askForToken = ask;
}

async function send(path, method, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  try {
    return await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new ApiError("The server cannot be reached. Is it still running?", 0);
  }
}

async function reply(path, method, body) {
  let response = await send(path, method, body);
  while (response.status === 401 && path.startsWith("/api/")) {
    await askForToken();
    response = await send(path, method, body);
  }
  if (response.ok) return response;
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error || message;
  } catch {
    // No JSON: the status says what there is to say.
  }
  throw new ApiError(message[0].toUpperCase() + message.slice(1), response.status);
}

export const get = async (path) => (await reply(path, "GET")).json();
export const post = async (path, body = {}) => (await reply(path, "POST", body)).json();
export const remove = async (path) => (await reply(path, "DELETE")).json();

/** Saves an export as the file that the server names. */
export async function download(path, body) {
  const response = await reply(path, "POST", body);
  const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") || "");
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name ? name[1] : "papers";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

let config = null;

/** Engines, usual settings, limits and formats; asked for once. */
export function getConfig() {
  config ??= get("/api/config").catch((error) => {
    config = null;
    throw error;
  });
  return config;
}
