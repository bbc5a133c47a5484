// What comes over the socket, put in order. Needs no page.

/** Hands on what is of the source that was asked for last. What was sent of the one before is still under way then: it ends
 * where the server says what comes from there on. */
export class Stream {
  #asked = null;
  #follows = false;
  #take;

  /** take: called with each packet and the bytes after it; what it returns is awaited until that packet is shown. */
  constructor(take) {
    this.#take = take;
  }

  /** What to send to the server, to look at a source. */
  ask(source) {
    this.#asked = source;
    this.#follows = false;
    return JSON.stringify({ source, tells_seen: true });
  }

  /** One message of the socket, a Uint8Array. send: what to send back on it once that is shown, so that the next may come. */
  async hear(bytes, send) {
    const end = bytes.indexOf(10);
    const packet = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
    if (packet.kind === "looking") {
      this.#follows = packet.source === this.#asked;
      return;
    }
    try {
      if (this.#follows || packet.kind === "sources") await this.#take(packet, bytes.slice(end + 1).buffer);
    } finally {
      send(JSON.stringify({ seen: packet.kind }));
    }
  }
}

/** Shows pictures in the order in which they came, however long each takes to be decoded. */
export class Pictures {
  #came = 0;
  #shown = 0;
  #decode;
  #show;

  /** decode: bytes to a promise of a picture, which is closed after show had it. */
  constructor(decode, show) {
    this.#decode = decode;
    this.#show = show;
  }

  async take(bytes) {
    const number = ++this.#came;
    const picture = await this.#decode(bytes).catch(() => null); // none of what is damaged
    if (picture && number > this.#shown) {
      this.#shown = number;
      this.#show(picture);
    }
    picture?.close();
  }

  /** Show none of those that are being decoded. */
  forget() {
    this.#shown = this.#came;
  }
}

/** When what kind of packet came last. What has not come is as old as the look at its source: nothing is late at once. */
export class Heard {
  #at = new Map();
  #since;

  /** now: in ms, here and below. */
  constructor(now) {
    this.#since = now;
  }

  /** One of that kind. */
  add(kind, now) {
    this.#at.set(kind, now);
  }

  /** Look at another source. */
  forget(now) {
    this.#at.clear();
    this.#since = now;
  }

  has(kind) {
    return this.#at.has(kind);
  }

  /** For how long none has come, ms. */
  age(kind, now) {
    return now - (this.#at.get(kind) ?? this.#since);
  }
}
