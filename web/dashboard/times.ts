// Times as the viewer's clock shows them; UTC stays in the tooltip.

const FULL = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function showTimes(root: ParentNode): void {
  for (const time of root.querySelectorAll<HTMLTimeElement>("time[data-style]")) show(time);
}

/** Moves the running durations on. */
export function tick(): void {
  for (const time of document.querySelectorAll<HTMLTimeElement>('time[data-style="since"]')) show(time);
}

function show(time: HTMLTimeElement): void {
  const at = new Date(time.dateTime);
  const style = time.dataset["style"];
  const text = style === "since" ? duration((Date.now() - at.getTime()) / 1000) : (style === "clock" ? CLOCK : FULL).format(at);
  if (time.textContent !== text) time.textContent = text;
}

/** `1:02:03`, `2:03`. */
export function duration(seconds: number): string {
  const whole = Math.max(Math.floor(seconds), 0);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number): string => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
