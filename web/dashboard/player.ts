// The player of one asset: the browser's own controls, and beside them speed, single frames, and links to a moment.

import { copy } from "./copying";
import { duration } from "./times";

// Recordings carry no fixed frame rate; a thirtieth of a second is one frame of most cameras and never skips one of a slower one.
const FRAME_S = 1 / 30;

export function drive(player: HTMLElement): void {
  const media = player.querySelector<HTMLMediaElement>("video, audio");
  if (!media) return;
  startAt(media, new URLSearchParams(location.search).get("t"));
  const clock = player.querySelector("[data-clock]");
  media.addEventListener("timeupdate", () => {
    if (clock) clock.textContent = exact(media.currentTime);
  });
  for (const step of player.querySelectorAll<HTMLButtonElement>("[data-step]")) {
    step.addEventListener("click", () => {
      media.pause();
      media.currentTime += Number(step.dataset["step"]) * FRAME_S;
    });
  }
  player.querySelector<HTMLSelectElement>("[data-speed]")?.addEventListener("change", (event) => {
    media.playbackRate = Number((event.target as HTMLSelectElement).value);
  });
  player.querySelector<HTMLButtonElement>("[data-copy-moment]")?.addEventListener("click", (event) => {
    const link = new URL(location.href);
    link.searchParams.set("t", media.currentTime.toFixed(3));
    void copy(event.currentTarget as HTMLButtonElement, link.href);
  });
  watchSeeks(media);
}

/** `?t=12.5` opens at that second. */
function startAt(media: HTMLMediaElement, t: string | null): void {
  const seconds = Number(t);
  if (t === null || !Number.isFinite(seconds) || seconds < 0) return;
  media.addEventListener("loadedmetadata", () => void (media.currentTime = seconds), { once: true });
}

/** Links to a gap move the player instead of loading the page again. */
function watchSeeks(media: HTMLMediaElement): void {
  for (const link of document.querySelectorAll<HTMLAnchorElement>("a[data-seek]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      media.currentTime = Number(link.dataset["seek"]);
      media.scrollIntoView({ block: "center" });
    });
  }
}

function exact(seconds: number): string {
  return `${duration(seconds)}.${String(Math.floor((seconds % 1) * 1000)).padStart(3, "0")}`;
}
