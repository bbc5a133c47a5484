// One socket while the page is to be seen, one handler a kind of packet; see packets.py.
import { draw, follow, ground, takeFreeSpace, takeGrid } from "./ground.js";
import { Heard, Pictures, Stream } from "./stream.js";

const STALE_MS = 1500; // diagnostics come once a second; a picture that is older is not what is now
const KEPT = 120;
const LEVELS = ["good", "warn", "bad", "bad"];
const CHARTS = {
  input_rate_hz: ["images in", "/s"], output_rate_hz: ["answers out", "/s"],
  age_ms_p50: ["age, half below", "ms"], age_ms_p95: ["age, 95 % below", "ms"],
};
const COUNTS = /^(frames_in|frames_out|dropped|lost|(bad|depth)_\w+|stamp_(zero|not_newer|old|ahead)|dim_images|two_(publishers|calibrations)|qos_mismatch|wrong_type|no_clock)$/;

const byId = (id) => document.getElementById(id);
const history = new Map();
const stream = new Stream(take), pictures = new Pictures((bytes) => createImageBitmap(new Blob([bytes])), show);
const heard = new Heard(performance.now());
let socket = null, chosen = null, shown = null, retry = 0, opened = Infinity;

function connect() {
  clearTimeout(retry);
  if (socket || document.hidden) return;
  const here = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  const send = (words) => { if (here.readyState === WebSocket.OPEN) here.send(words); };
  socket = here;
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { opened = performance.now(); badge("connected", "good"); look(); };
  socket.onmessage = ({ data }) => stream.hear(new Uint8Array(data), send);
  socket.onclose = () => {
    socket = null;
    opened = Infinity;
    badge("not connected: seg_perception dashboard does not run", "bad");
    retry = setTimeout(connect, 1000);
  };
}

function badge(words, level) {
  byId("link").textContent = words;
  byId("link").className = `badge ${level}`;
}

function look() {
  const source = byId("source").value;
  if (source !== shown) forget();
  shown = source;
  if (socket?.readyState === WebSocket.OPEN) socket.send(stream.ask(source));
}

function forget() {
  Object.assign(ground, { grid: null, freeSpace: null, things: null });
  ground.trails.clear();
  history.clear();
  heard.forget(performance.now());
  pictures.forget();
  const overlay = byId("overlay");
  overlay.getContext("2d").clearRect(0, 0, overlay.width, overlay.height);
  for (const id of ["legend", "reasons", "areas", "things", "counts", "values", "charts"]) byId(id).replaceChildren();
}

function take(packet, bytes) {
  if (packet.kind !== "overlay") heard.add(packet.kind, performance.now());
  return TAKERS[packet.kind]?.(packet, bytes);
}

function show(picture) {
  heard.add("overlay", performance.now());
  const canvas = byId("overlay");
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  canvas.getContext("2d").drawImage(picture, 0, 0);
  canvas.dataset.frames = 1 + Number(canvas.dataset.frames ?? 0);
}

const TAKERS = {
  sources({ sources }) {
    const select = byId("source");
    if (sources.join() !== [...select.options].map((option) => option.value).join()) {
      const before = chosen ?? select.value; // a node that begins anew is gone for a moment
      select.replaceChildren(...sources.map((source) => new Option(source, source)));
      if (sources.includes(before)) select.value = before;
      look();
    }
    if (!sources.length) badge("connected, but no node publishes segments in this ROS domain", "warn");
    else badge("connected", "good");
  },
  overlay: (packet, bytes) => pictures.take(bytes),
  grid: takeGrid,
  free_space: takeFreeSpace,
  things(packet) {
    follow(packet);
    const how = packet.from_vehicle ? "speed from the vehicle" : "speed";
    table("things", ["class", "track", "score", "ahead", "left", how, "for"], packet.things.map((thing) => [
      thing.class, thing.track || "", number(thing.score, 2), metres(thing.foot[0]), metres(thing.foot[1]),
      speed(thing), thing.age === null ? "" : `${number(thing.age, 1)} s`,
    ]));
  },
  areas({ areas }) {
    table("areas", ["class", "share", "area", "ahead", "over the width", "view begins"], areas.map((area) => [
      area.class, `${(100 * area.coverage).toFixed(1)} %`, area.area_m2 === null ? "unknown" : `${number(area.area_m2, 0)} m²`,
      metres(area.ahead_m), metres(area.ahead_width_m), metres(area.view_begins_m),
    ]));
  },
  diagnostics({ statuses }) {
    const reasons = statuses.map(({ name, level, message }) => {
      const item = document.createElement("li");
      item.className = LEVELS[level];
      item.textContent = `${name}: ${message}`;
      return item;
    });
    byId("reasons").replaceChildren(...reasons);
    const all = Object.assign({}, ...statuses.map((status) => status.values));
    if (all.legend) legend(JSON.parse(all.legend));
    chart(all);
    table("counts", null, Object.entries(all).filter(([key, value]) => COUNTS.test(key) && value !== "0"));
    table("values", null, statuses.flatMap(({ name, values }) => Object.entries(values).map(([key, value]) => [name, key, value])));
  },
};

function number(value, digits) {
  return typeof value === "number" ? value.toFixed(digits) : "";
}

function metres(value) {
  return value === null ? "unknown" : value === "beyond" ? "beyond range" : `${value.toFixed(1)} m`;
}

function speed({ velocity: [x, y], velocity_std: [sx, sy] }) {
  return typeof x === "number" ? `${Math.hypot(x, y).toFixed(1)} ± ${Math.hypot(sx, sy).toFixed(1)} m/s` : "";
}

function table(id, heads, rows) {
  const cells = (tag, row) => {
    const line = document.createElement("tr");
    for (const value of row) line.appendChild(document.createElement(tag)).textContent = value;
    return line;
  };
  byId(id).replaceChildren(...(heads ? [cells("th", heads)] : []), ...rows.map((row) => cells("td", row)));
}

function legend(colors) {
  byId("legend").replaceChildren(...Object.entries(colors).map(([name, color]) => {
    const item = document.createElement("li"), swatch = document.createElement("i");
    swatch.style.background = color;
    item.append(swatch, name);
    return item;
  }));
}

function chart(values) {
  for (const [key, [name, unit]] of Object.entries(CHARTS)) {
    if (values[key] === undefined) continue;
    if (!history.has(key)) {
      const box = document.createElement("div");
      box.innerHTML = `${name} <b id="${key}"></b> ${unit}<canvas width="240" height="48"></canvas>`;
      byId("charts").append(box);
      history.set(key, []);
    }
    const past = history.get(key);
    past.push(Number(values[key]));
    if (past.length > KEPT) past.shift();
    byId(key).textContent = Number(values[key]).toFixed(1);
    const canvas = byId(key).parentElement.querySelector("canvas"), context = canvas.getContext("2d");
    const most = Math.max(1, ...past);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.strokeStyle = "#4fc3f7";
    context.lineWidth = 2;
    context.beginPath();
    past.forEach((value, k) => context.lineTo(2 + k * (canvas.width - 4) / (KEPT - 1), canvas.height - 3 - value / most * (canvas.height - 8)));
    context.stroke();
  }
}

/** What is old must not look like now. */
function tick() {
  const now = performance.now();
  const age = (kind) => heard.age(kind, now);
  const old = age("overlay") > STALE_MS;
  byId("overlay").classList.toggle("old", old);
  byId("stale").hidden = !old;
  byId("stale").textContent = !heard.has("overlay") ? "no picture yet" : `no new picture for ${(age("overlay") / 1000).toFixed(0)} s`;
  const newest = Math.min(age("grid"), age("free_space"));
  if (newest > STALE_MS) Object.assign(ground, { grid: null, freeSpace: null });
  if (age("things") > STALE_MS && ground.things) { ground.things = null; table("things", null, []); }
  if (age("areas") > STALE_MS) table("areas", null, []);
  const why = draw(byId("ground"));
  byId("no_ground").hidden = !why;
  byId("no_ground").textContent = why;
  if (Math.min(age("diagnostics"), now - opened) > 3000) {
    const item = document.createElement("li");
    item.className = "bad";
    item.textContent = shown ? `no diagnostics from ${shown} for 3 s: it ended, hangs, or is on another ROS domain` : "no node found yet";
    byId("reasons").replaceChildren(item);
  }
}

byId("source").onchange = () => { chosen = byId("source").value; look(); };
document.addEventListener("visibilitychange", () => (document.hidden ? socket?.close() : connect()));
connect();
(function frame() {
  tick();
  setTimeout(() => requestAnimationFrame(frame), 60);
})();
