"use strict";
// Sends what the operator does thirty times a second, whether anything changed or not: silence is a lost link.

const PERIOD_MS = 33;
const RETRY_MS = 1000;
const SIGNS = { "turn left": "↺", "turn right": "↻" };
const HINTS = { ready: "touch a pad to move; let go, and the robot holds", engaged: "you move the robot" };
const STATES = { lost: "Lost", ready: "Ready", engaged: "Engaged", stopped: "Stopped" };

const byId = (name) => document.getElementById(name);
const sticks = { left_x: 0, left_y: 0, right_x: 0, right_y: 0 };
const held = new Set();
const pressed = new Set();
let touched = 0;
let side = "left";
let pose = null;
let isTracking = false;
let socket = null;
let echo = null;
let echoAt = 0;

// --- the link ---------------------------------------------------------------------------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws${location.search}`);
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = () => {
    echo = null;
    letGo();
    show({ state: "lost", message: "no connection to the robot; trying again", role: "observer" });
    setTimeout(connect, RETRY_MS);
  };
}

function send() {
  if (!socket || socket.readyState !== WebSocket.OPEN) return;
  // What does not leave the phone any more would arrive late: better not at all.
  if (socket.bufferedAmount > 2000) return;
  const controls = { ...sticks };
  for (const name of held) controls[name] = 1;
  controls.engage = touched > 0 || held.size > 0 || isTracking ? 1 : 0;
  controls.left = side !== "right" ? controls.engage : 0;
  controls.right = side !== "left" ? controls.engage : 0;
  socket.send(JSON.stringify({
    type: "input", controls, pressed: [...pressed], pose, echo, held_ms: echo === null ? 0 : performance.now() - echoAt,
  }));
  pressed.clear();
}

function show(status) {
  if (status.echo !== undefined) {
    echo = status.echo;
    echoAt = performance.now();
  }
  const state = status.state || "lost";
  const isObserver = status.role === "observer" && status.echo !== undefined;
  byId("state").dataset.state = state;
  byId("state").textContent = isObserver ? "Watching" : STATES[state];
  byId("message").textContent = isObserver ? "another page operates; you can stop the robot" : HINTS[state] || status.message || "";
  if (status.robot) byId("robot").textContent = status.robot;
  byId("age").textContent = status.link_age_ms !== undefined && status.link_age_ms < 9999000 ? `${status.link_age_ms} ms` : "";
  if (status.legend) label(status.legend);
}

let labelled = "";
function label(legend) {
  const text = JSON.stringify(legend);
  if (text === labelled) return;
  labelled = text;
  for (const pad of document.querySelectorAll(".pad")) {
    const tips = (control, first, second) => {
      const [up, down] = (legend[control] || "").split(" / ").map((word) => SIGNS[word] || word);
      for (const [place, word] of [[first, up], [second, down || ""]]) {
        pad.querySelector(place).textContent = word;
        pad.querySelector(place).classList.toggle("turn", word.length === 1);
      }
    };
    tips(pad.dataset.y, ".up", ".down");
    tips(pad.dataset.x, ".righty", ".lefty");
  }
  for (const button of document.querySelectorAll(".hold")) button.hidden = !(button.dataset.control in legend);
  for (const button of document.querySelectorAll("[data-event]")) button.hidden = !(button.dataset.event in legend);
  byId("sides").hidden = !("left" in legend && "right" in legend);
  motionIsMapped = "phone" in legend;
  offerTracking();
}

// --- pads and buttons -------------------------------------------------------------------------

function letGo() {
  touched = 0;
  held.clear();
  for (const name of Object.keys(sticks)) sticks[name] = 0;
  for (const pad of document.querySelectorAll(".pad")) {
    pad.classList.remove("held");
    pad.querySelector(".knob").style.transform = "translate(-50%, -50%)";
  }
  for (const button of document.querySelectorAll(".held")) button.classList.remove("held");
}

for (const pad of document.querySelectorAll(".pad")) {
  let pointer = null;
  const move = (event) => {
    const box = pad.getBoundingClientRect();
    const radius = Math.min(box.width, box.height) / 2 * 0.7;
    let x = (event.clientX - box.left - box.width / 2) / radius;
    let y = (event.clientY - box.top - box.height / 2) / radius;
    const length = Math.hypot(x, y);
    if (length > 1) { x /= length; y /= length; }
    sticks[pad.dataset.x] = x;
    sticks[pad.dataset.y] = -y;
    pad.querySelector(".knob").style.transform = `translate(calc(-50% + ${x * radius}px), calc(-50% + ${y * radius}px))`;
  };
  const end = (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    touched = Math.max(0, touched - 1);
    sticks[pad.dataset.x] = sticks[pad.dataset.y] = 0;
    pad.classList.remove("held");
    pad.querySelector(".knob").style.transform = "translate(-50%, -50%)";
  };
  pad.addEventListener("pointerdown", (event) => {
    if (pointer !== null && touched > 0) return;
    event.preventDefault();
    pointer = event.pointerId;
    touched += 1;
    pad.setPointerCapture(pointer);
    pad.classList.add("held");
    move(event);
  });
  pad.addEventListener("pointermove", (event) => { if (event.pointerId === pointer && touched > 0) move(event); });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) pad.addEventListener(kind, end);
}

for (const button of document.querySelectorAll(".hold")) {
  const release = () => { held.delete(button.dataset.control); button.classList.remove("held"); };
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    held.add(button.dataset.control);
    button.classList.add("held");
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(kind, release);
}

const sides = [...document.querySelectorAll("[data-side]")];
function choose(button) {
  // Nothing that is held goes over to the other arm.
  letGo();
  side = button.dataset.side;
  for (const other of sides) {
    other.setAttribute("aria-checked", String(other === button));
    other.tabIndex = other === button ? 0 : -1;
  }
}
for (const button of sides) {
  button.addEventListener("click", () => choose(button));
  button.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const next = sides[(sides.indexOf(button) + way + sides.length) % sides.length];
    choose(next);
    next.focus();
  });
}

for (const button of document.querySelectorAll("[data-event]")) {
  button.addEventListener("click", () => pressed.add(button.dataset.event));
}

// Pressed, not clicked: a stop does not wait until the finger is up again.
byId("stop").addEventListener("pointerdown", () => { pressed.add("emergency_stop"); letGo(); send(); });
byId("stop").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") { pressed.add("emergency_stop"); send(); }
});

// A page that nobody sees moves nothing.
document.addEventListener("visibilitychange", () => { if (document.hidden) { letGo(); send(); } });
window.addEventListener("blur", () => { letGo(); send(); });
document.addEventListener("contextmenu", (event) => event.preventDefault());

// --- the phone's own motion -------------------------------------------------------------------

let motionIsMapped = false;
let motionIsThere = null;
async function offerTracking() {
  if (motionIsThere === null) {
    motionIsThere = false;
    for (const mode of ["immersive-ar", "immersive-vr"]) {
      if (!motionIsThere && navigator.xr && await navigator.xr.isSessionSupported(mode).catch(() => false)) motionIsThere = mode;
    }
  }
  byId("motion").hidden = !(motionIsMapped && motionIsThere);
}

byId("track").addEventListener("click", () => {
  track().catch((error) => { byId("message").textContent = `the phone's motion cannot be followed: ${error.message}`; });
});

async function track() {
  const session = await navigator.xr.requestSession(motionIsThere, {
    optionalFeatures: ["dom-overlay"], domOverlay: { root: document.body },
  });
  if (window.XRWebGLLayer) {
    const graphics = document.createElement("canvas").getContext("webgl", { xrCompatible: true });
    session.updateRenderState({ baseLayer: new XRWebGLLayer(session, graphics) });
  }
  const space = await session.requestReferenceSpace("local");
  session.addEventListener("selectstart", () => { isTracking = true; });
  session.addEventListener("selectend", () => { isTracking = false; });
  session.addEventListener("end", () => { isTracking = false; pose = null; });
  const frame = (time, xrFrame) => {
    session.requestAnimationFrame(frame);
    const source = [...session.inputSources].find((s) => s.gripSpace);
    const found = source ? xrFrame.getPose(source.gripSpace, space) : xrFrame.getViewerPose(space);
    pose = found ? toRobot(found.transform) : null;
  };
  session.requestAnimationFrame(frame);
}

// From x right, y up, z backward to x forward, y left, z up.
function toRobot({ position: p, orientation: q }) {
  return { position: [-p.z, -p.x, p.y], orientation: [q.w, -q.z, -q.x, q.y] };
}

setInterval(send, PERIOD_MS);
connect();
