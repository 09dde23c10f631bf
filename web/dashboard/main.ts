// What the dashboard's pages do in the browser. Every page works without it; it makes times local, copies, and drives the player.

import { watchCopying } from "./copying";
import { watchForms } from "./forms";
import { drive } from "./player";
import { showTimes, tick } from "./times";

// Running durations move with the clock's second hand.
const TICK_MS = 1000;

function dress(root: ParentNode): void {
  showTimes(root);
}

watchCopying();
watchForms();
for (const player of document.querySelectorAll<HTMLElement>("[data-player]")) drive(player);
dress(document);
// htmx tells when it has put new rows into the page.
document.body.addEventListener("htmx:load", (event) => dress(event.target as HTMLElement));
window.setInterval(tick, TICK_MS);
