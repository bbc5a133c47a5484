// The ground from above, in the vehicle's frame: x ahead is up, y to the left is left. Metres until the last moment.

const FREE = [43, 143, 184], COSTLY = [143, 122, 60], BLOCKED = [165, 69, 47], UNKNOWN = [38, 41, 44];
const TRAIL_S = 4;
const LEAST_S = 0.1; // what may lie between two places at least, as stamps are not exact
export const FASTEST_M_S = 70; // of all things on a road: what is farther off is measured from elsewhere

export const ground = { grid: null, freeSpace: null, things: null, trails: new Map(), trailsFrame: "" };

/** Where a point of a packet's frame is, seen from the vehicle. vehicle: [x, y, yaw] in that frame. */
function seen([x, y], [vx, vy, yaw]) {
  const dx = x - vx, dy = y - vy, c = Math.cos(yaw), s = Math.sin(yaw);
  return [c * dx + s * dy, -s * dx + c * dy];
}

function turned([x, y], yaw) {
  return seen([x, y], [0, 0, yaw]);
}

/** Remember where tracks were, and forget those that are gone. A trail begins anew where its places are in another frame, or
 * the odometry jumped, as those of the node's markers do. */
export function follow(things) {
  if (things.frame !== ground.trailsFrame) ground.trails.clear();
  ground.trailsFrame = things.frame;
  const now = things.stamp_s, alive = new Set();
  for (const thing of things.things) {
    if (!thing.track || typeof thing.foot[0] !== "number") continue;
    alive.add(thing.track);
    const trail = ground.trails.get(thing.track) ?? [];
    if (trail.length && (trail.at(-1).at > now || isJump(trail.at(-1), thing.foot, now))) trail.length = 0; // or time jumped back
    trail.push({ at: now, foot: thing.foot });
    while (trail[0].at < now - TRAIL_S) trail.shift();
    ground.trails.set(thing.track, trail);
  }
  for (const [track, trail] of ground.trails) {
    if (!alive.has(track) && (trail.at(-1).at < now - 1 || trail.at(-1).at > now)) ground.trails.delete(track);
  }
  ground.things = things;
}

function isJump({ at, foot }, [x, y], now) {
  return Math.hypot(x - foot[0], y - foot[1]) > FASTEST_M_S * Math.max(now - at, LEAST_S);
}

/** From the legend's free over its costly to its blocked. */
function colorOf(cost) {
  if (cost < 0) return UNKNOWN;
  const [from, to, share] = cost < 50 ? [FREE, COSTLY, cost / 50] : [COSTLY, BLOCKED, cost / 50 - 1];
  return from.map((value, k) => value + share * (to[k] - value));
}

function gridPicture({ width, height, cells }) {
  const picture = new ImageData(width, height);
  for (let cell = 0; cell < cells.length; cell++) {
    const color = colorOf(cells[cell]);
    for (let k = 0; k < 3; k++) picture.data[4 * cell + k] = color[k];
    picture.data[4 * cell + 3] = 255;
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/** The part of the ground to show, m: what grid and free space hold, around the vehicle. */
function extent() {
  const { grid, freeSpace } = ground;
  if (grid && grid.vehicle) {
    const [ox, oy, yaw] = grid.origin, w = grid.width * grid.resolution, h = grid.height * grid.resolution;
    const corners = [[0, 0], [w, 0], [0, h], [w, h]].map((corner) => {
      const [x, y] = turned(corner, -yaw);
      return seen([ox + x, oy + y], grid.vehicle);
    });
    const xs = corners.map((c) => c[0]), ys = corners.map((c) => c[1]);
    return { back: Math.min(-2, ...xs), ahead: Math.max(...xs), right: Math.min(...ys), left: Math.max(...ys) };
  }
  const reach = freeSpace ? freeSpace.range_max : 20;
  return { back: -2, ahead: reach, right: -reach / 2, left: reach / 2 };
}

function polyline(context, points, scale, color, width) {
  context.strokeStyle = color;
  context.lineWidth = width / scale;
  context.beginPath();
  let pen = false;
  for (const point of points) {
    if (!point) { pen = false; continue; }
    context[pen ? "lineTo" : "moveTo"](...point);
    pen = true;
  }
  context.stroke();
}

/** Draw all on a canvas of any size; returns why nothing can be drawn, else an empty string. */
export function draw(canvas) {
  const context = canvas.getContext("2d"), { grid, freeSpace, things } = ground;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (!grid && !freeSpace) return "no ground: see the reasons above";
  const { back, ahead, right, left } = extent();
  const scale = Math.min(canvas.width / (left - right), canvas.height / (ahead - back));
  // x up, y left: the canvas' axes are right and down.
  const middle = canvas.width / 2 + scale * (left + right) / 2, bottom = canvas.height - scale * -back;
  const axes = () => context.setTransform(0, -scale, -scale, 0, middle, bottom);
  axes();
  if (grid && grid.vehicle) drawGrid(context, grid);
  drawRings(context, scale, ahead, axes, middle, bottom);
  if (freeSpace) {
    const ends = Array.from(freeSpace.ranges, (range, k) => {
      const bearing = freeSpace.angle_min + k * freeSpace.angle_step;
      return Number.isFinite(range) ? [range * Math.cos(bearing), range * Math.sin(bearing)] : null;
    });
    polyline(context, ends, scale, "#fff", 2);
    context.fillStyle = "#fff";
    for (const end of ends) if (end) context.fillRect(end[0] - 1.5 / scale, end[1] - 1.5 / scale, 3 / scale, 3 / scale);
  }
  if (things && things.vehicle) drawThings(context, things, scale, axes, middle, bottom);
  context.fillStyle = "#e6e9eb";
  context.beginPath();
  context.moveTo(1.2, 0); context.lineTo(-1.2, .7); context.lineTo(-1.2, -.7);
  context.fill();
  if (grid && !grid.vehicle) return `the grid is in ${grid.frame}, and TF does not say where the vehicle is there`;
  return "";
}

function drawGrid(context, grid) {
  const [ox, oy, yaw] = grid.origin;
  const [x, y] = seen([ox, oy], grid.vehicle);
  context.save();
  context.translate(x, y);
  context.rotate(yaw - grid.vehicle[2]);
  context.scale(grid.resolution, grid.resolution);
  context.imageSmoothingEnabled = false;
  context.drawImage(grid.picture, 0, 0);
  context.restore();
}

/** No more rings than a kilometre has: an odometry that jumped may put the vehicle any distance from the grid. */
const MOST_RINGS = 50;

function drawRings(context, scale, ahead, axes, middle, bottom) {
  const step = ahead > 60 ? 20 : ahead > 25 ? 10 : 5;
  for (let radius = step; radius <= Math.min(ahead, MOST_RINGS * step); radius += step) {
    context.strokeStyle = "#ffffff30";
    context.lineWidth = 1 / scale;
    context.beginPath();
    context.arc(0, 0, radius, -Math.PI / 2, Math.PI / 2);
    context.stroke();
    text(context, `${radius} m`, middle + 3, bottom - scale * radius - 3, "#9aa4ac");
    axes();
  }
}

function drawThings(context, { things, vehicle }, scale, axes, middle, bottom) {
  for (const thing of things) {
    if (typeof thing.foot[0] !== "number") continue;
    const foot = seen(thing.foot, vehicle);
    const trail = ground.trails.get(thing.track) ?? [];
    polyline(context, trail.map((past) => seen(past.foot, vehicle)), scale, "#ffd54a80", 2);
    let speed = "";
    if (typeof thing.velocity[0] === "number") {
      const [vx, vy] = turned(thing.velocity, vehicle[2]);
      polyline(context, [foot, [foot[0] + vx, foot[1] + vy]], scale, "#ffd54a", 2);
      speed = ` ${Math.hypot(vx, vy).toFixed(1)} m/s`;
    }
    context.fillStyle = thing.state === "new" ? "#ffd54a80" : "#ffd54a";
    context.beginPath();
    context.arc(foot[0], foot[1], 5 / scale, 0, 2 * Math.PI);
    context.fill();
    const name = thing.track ? `${thing.class} ${thing.track}` : thing.class;
    text(context, name + speed, middle - scale * foot[1] + 8, bottom - scale * foot[0] + 4, "#fff");
    axes();
  }
}

function text(context, words, x, y, color) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.font = "15px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "#000c";
  context.strokeText(words, x, y);
  context.fillStyle = color;
  context.fillText(words, x, y);
}

export function takeGrid(packet, bytes) {
  packet.cells = new Int8Array(bytes);
  packet.picture = gridPicture(packet);
  ground.grid = packet;
}

export function takeFreeSpace(packet, bytes) {
  packet.ranges = new Float32Array(bytes);
  ground.freeSpace = packet;
}
