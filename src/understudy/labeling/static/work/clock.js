// Seconds of work: time with the page visible and in use.

const IDLE_MS = 60_000;
const TICK_MS = 1000;

/** Count active seconds, from `start` on. Returns {seconds, active, stop}. */
export function workClock(start = 0) {
  let seconds = start;
  let seen = Date.now();
  const touch = () => {
    seen = Date.now();
  };
  const events = ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "touchstart"];
  for (const event of events) addEventListener(event, touch, { passive: true, capture: true });
  const active = () => !document.hidden && Date.now() - seen < IDLE_MS;
  const timer = setInterval(() => {
    if (active()) seconds += TICK_MS / 1000;
  }, TICK_MS);
  return {
    seconds: () => seconds,
    active,
    stop: () => {
      clearInterval(timer);
      for (const event of events) removeEventListener(event, touch, { capture: true });
    },
  };
}
