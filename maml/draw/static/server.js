// Questions to the server.

const token = new URLSearchParams(location.search).get("token");
const LONGEST_PAUSE = 8000; // milliseconds between two tries to reach the server

export class Refusal extends Error {
  // `said` is the server's answer: error, and perhaps reason, refused or forgotten.
  constructor(said) {
    super(said.error);
    this.said = said;
  }
}

// Asks, and tries again while the server cannot be reached, until `stale` says that nobody waits any
// more; `unreachable` is called each time. Returns the response.
export async function send(path, body, { stale = () => false, unreachable = () => {} } = {}) {
  const headers = { ...(token && { "X-Token": token }), ...(body && { "Content-Type": "application/json" }) };
  for (let pause = 500; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    try {
      return await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
    } catch (error) {
      if (stale()) throw error;
      unreachable();
      await new Promise(resolve => setTimeout(resolve, pause));
      if (stale()) throw error;
    }
  }
}

export async function ask(path, body, waiting) {
  const answer = await send(path, body, waiting);
  const said = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw new Refusal(said);
  return said;
}
