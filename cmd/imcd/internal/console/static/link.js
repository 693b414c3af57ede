// The WebSocket: requests with answers, events, and a new connection when the old
// one is lost.

const firstWait = 500, longestWait = 5000;
const tokenKey = "imcd-token";

const base64url = (s) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(s))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

export class Link {
  #socket = null;
  #serial = 0;
  #waiting = new Map(); // answers by request id
  #wait = firstWait;

  /** on: {up, down, event(params), token(wrong) → Promise of a token} */
  constructor(on) {
    this.on = on;
  }

  async open() {
    const token = sessionStorage.getItem(tokenKey);
    const protocols = token ? ["imcd", "imcd.token." + base64url(token)] : ["imcd"];
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    const socket = new WebSocket(url, protocols);
    this.#socket = socket;
    let was = false;
    socket.addEventListener("open", () => {
      was = true;
      this.#wait = firstWait;
      this.on.up();
    });
    socket.addEventListener("message", (m) => this.#take(JSON.parse(m.data)));
    socket.addEventListener("close", () => this.#closed(was));
  }

  async #closed(was) {
    for (const { reject } of this.#waiting.values()) reject(new Error("the connection was lost"));
    this.#waiting.clear();
    this.on.down();
    if (!was && (await this.#refused())) {
      const wrong = sessionStorage.getItem(tokenKey) !== null;
      sessionStorage.setItem(tokenKey, await this.on.token(wrong));
      this.open();
      return;
    }
    setTimeout(() => this.open(), this.#wait);
    this.#wait = Math.min(longestWait, this.#wait * 2);
  }

  // A page cannot see why a WebSocket was refused, so it asks the other door.
  async #refused() {
    const token = sessionStorage.getItem(tokenKey);
    const headers = token ? { Authorization: "Bearer " + token } : {};
    try {
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "imc.stats" });
      return (await fetch("rpc", { method: "POST", headers, body })).status === 401;
    } catch {
      return false; // not there at all
    }
  }

  #take(message) {
    if (message.method === "imc.event") {
      this.on.event(message.params);
      return;
    }
    const asked = this.#waiting.get(message.id);
    if (!asked) return;
    this.#waiting.delete(message.id);
    if (message.error) asked.reject(new Error(message.error.message));
    else asked.resolve(message.result);
  }

  /** call asks and returns a promise of the result. */
  call(method, params = {}) {
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) {
        reject(new Error("not connected"));
        return;
      }
      const id = ++this.#serial;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }
}
