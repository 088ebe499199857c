// Only one tab works on an assignment: the newest takes over, and the others wait.

/**
 * Announce that this tab works on `id`. `onTaken()` is called when another tab does. Returns
 * {take, stop}; `take()` makes this tab the working one again.
 */
export function claim(id, onTaken) {
  if (!("BroadcastChannel" in window)) return { take() {}, stop() {} };
  const channel = new BroadcastChannel("understudy:assignments");
  channel.onmessage = (event) => {
    if (event.data === id) onTaken();
  };
  const take = () => channel.postMessage(id);
  take();
  return { take, stop: () => channel.close() };
}
