// The chat beside the tiles. Messages live as long as the call; the server keeps none.

import { selectHMSMessages } from "@100mslive/hms-video-store";
import type { HMSMessage } from "@100mslive/hms-video-store";
import { find, make } from "./dom";
import type { Visit } from "./room";

export class Chat {
  private readonly panel = find("chat");
  private readonly list = find("messages");
  private readonly text = find<HTMLInputElement>("message");
  private readonly toggle = document.querySelector<HTMLButtonElement>('[data-act="chat"]')!;
  private seen = 0;

  constructor(
    private readonly visit: Visit,
    private readonly failed: (error: unknown) => void,
  ) {
    this.toggle.addEventListener("click", () => this.open(this.panel.hidden === true));
    find("close-chat").addEventListener("click", () => this.open(false));
    find<HTMLFormElement>("chat-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    visit.store.subscribe((messages) => this.draw(messages), selectHMSMessages);
  }

  private open(open: boolean): void {
    this.panel.hidden = !open;
    this.toggle.setAttribute("aria-pressed", String(open));
    if (open) {
      this.seen = this.list.childElementCount;
      this.mark();
      this.text.focus();
    } else {
      this.toggle.focus();
    }
  }

  private async send(): Promise<void> {
    const text = this.text.value.trim();
    if (!text) return;
    try {
      await this.visit.actions.sendBroadcastMessage(text);
      this.text.value = "";
    } catch (error) {
      this.failed(error);
    }
  }

  private draw(messages: HMSMessage[]): void {
    for (const message of messages.slice(this.list.childElementCount)) {
      const line = make("li", "message");
      const mine = message.sender === undefined || message.senderName === undefined;
      line.append(make("strong", "", mine ? "You" : message.senderName), make("span", "", String(message.message)));
      this.list.append(line);
    }
    if (!this.panel.hidden) this.seen = this.list.childElementCount;
    this.list.lastElementChild?.scrollIntoView({ block: "nearest" });
    this.mark();
  }

  private mark(): void {
    const unread = this.list.childElementCount - this.seen;
    this.toggle.toggleAttribute("data-unread", unread > 0);
    this.toggle.setAttribute("aria-label", unread > 0 ? `Chat, ${unread} new` : "Chat");
  }
}
