// The line that says what went wrong, what was kept and what to do. One line at a time; the newest wins.

import { HMSNotificationTypes } from "@100mslive/hms-video-store";
import type { HMSException, HMSNotifications } from "@100mslive/hms-video-store";
import { find } from "./dom";
import type { Visit } from "./room";

const CONNECTION_LOST = "The connection is lost. Trying to come back for a minute; what was recorded so far is kept.";
const BACK = "The connection is back.";
// Long enough to read a sentence; only for good news, bad news stays.
const GOOD_NEWS_MS = 4000;
const AUTOPLAY_BLOCKED = 3008;

// Codes of the SDK that a person can do something about.
const WORDS: Record<number, string> = {
  1000: "The server cannot be reached. Check your network, then load the page again.",
  2000: "The server refused this join. Ask for a new link.",
  2003: "The server cannot be reached. Check your network, then load the page again.",
  3001: "The browser may not use the camera or microphone. Allow it beside the address, then load the page again.",
  3002: "No camera or microphone was found. Plug one in, or join without.",
  3003: "The camera or microphone is in use by another program. Close that program, then switch it on again here.",
  3004: "The camera or microphone was unplugged. Choose another under the gear.",
  3010: "No sound comes from the microphone. Check that it is not muted on its own switch.",
  3011: "The operating system does not let the browser use the camera or microphone. Allow it in the system's privacy settings.",
  3014: "The chosen device is gone; another one is used.",
  4005: "No path for pictures and sound. A firewall may block UDP; what was recorded so far is kept.",
  6010: "This page has no access to camera and microphone: open it with https, or on this machine by localhost.",
  6011: "This browser has no WebRTC. Use a current Chrome, Edge, Firefox or Safari.",
};

export class Trouble {
  private readonly line = find<HTMLElement>("trouble");
  private readonly text = find<HTMLElement>("trouble-text");
  private readonly sound = find<HTMLButtonElement>("unblock-sound");
  private timer = 0;

  constructor(private readonly visit: Visit) {
    this.sound.addEventListener("click", () => void this.unblock());
    find("trouble-close").addEventListener("click", () => this.clear());
  }

  watch(notifications: HMSNotifications): void {
    notifications.onNotification((notice) => {
      if (notice.type === HMSNotificationTypes.RECONNECTING) this.say(CONNECTION_LOST);
      if (notice.type === HMSNotificationTypes.RECONNECTED) this.sayBriefly(BACK);
      if (notice.type === HMSNotificationTypes.ERROR) this.sayError(notice.data as HMSException);
    });
  }

  say(text: string): void {
    window.clearTimeout(this.timer);
    this.sound.hidden = true;
    this.text.textContent = text;
    this.line.hidden = false;
  }

  sayError(error: unknown): void {
    const { code, description, message } = error as Partial<HMSException>;
    if (code === AUTOPLAY_BLOCKED) {
      this.say("The browser holds back the sound of the others.");
      this.sound.hidden = false;
      return;
    }
    this.say((code !== undefined && WORDS[code]) || description || message || "Something went wrong. Load the page again.");
  }

  clear(): void {
    this.line.hidden = true;
  }

  private sayBriefly(text: string): void {
    this.say(text);
    this.timer = window.setTimeout(() => this.clear(), GOOD_NEWS_MS);
  }

  private async unblock(): Promise<void> {
    await this.visit.actions.unblockAudio();
    this.clear();
  }
}
