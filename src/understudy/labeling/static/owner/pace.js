// Words for the pace of the queue.
import { count } from "./parts.js";

/** "42.5 a day; 340 are left: about 8 days." */
export function paceText({ per_day: perDay, left, days_left: daysLeft }) {
  const speed = perDay ? `${perDay.toFixed(1)} a day` : "No pace yet";
  return daysLeft
    ? `${speed}; ${left} are left: about ${count(Math.ceil(daysLeft), "day")}.`
    : `${speed}; ${left} are left.`;
}
