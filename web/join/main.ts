// The join page: our own small page around the unmodified client SDK.
//
// Before it: a room code in the address. After it: the server's signalling. It starts no recording and stops none; it only shows the mark.

import { HMSNotificationTypes } from "@100mslive/hms-video-store";
import { Call } from "./call";
import { Chat } from "./chat";
import { Devices } from "./devices";
import { find } from "./dom";
import { Preview } from "./preview";
import { readWishes, Visit } from "./room";
import type { Wishes } from "./room";
import { Tiles } from "./tiles";
import { Trouble } from "./trouble";

type State = "preview" | "joining" | "joined" | "left" | "failed";

function enter(state: State): void {
  document.body.dataset["state"] = state;
  find("bar").hidden = state !== "joined";
}

const wishes = readWishes(location.search);
const visit = new Visit(document.body.dataset["code"] ?? "");
const trouble = new Trouble(visit);
const failed = (error: unknown): void => trouble.sayError(error);
const tiles = new Tiles(visit);
const preview = new Preview(visit, wishes, join);
new Call(visit, failed, () => void leave());
new Chat(visit, failed);
new Devices(visit, failed);
trouble.watch(visit.notifications);

async function join(wanted: Wishes): Promise<void> {
  enter("joining");
  trouble.clear();
  try {
    await visit.join(wanted);
    enter("joined");
  } catch (error) {
    over("failed", "You could not join.");
    failed(error);
  }
}

async function leave(): Promise<void> {
  over("left", "You left the room.");
  await visit.leave();
}

function over(state: State, headline: string): void {
  enter(state);
  preview.close();
  tiles.clear();
  find("gone-headline").textContent = headline;
  find("rejoin").focus();
}

// A tab that closes is a leave, not a lost connection: the server need not wait for a return.
window.addEventListener("pagehide", () => void visit.leave());

visit.notifications.onNotification((notice) => {
  if (notice.type === HMSNotificationTypes.REMOVED_FROM_ROOM) over("left", "You were removed from the room.");
  if (notice.type === HMSNotificationTypes.ROOM_ENDED) over("left", "The room was ended.");
  if (notice.type === HMSNotificationTypes.ERROR && (notice.data as { isTerminal?: boolean }).isTerminal) {
    over("failed", "The connection to the room is lost.");
  }
});

if (wishes.auto) {
  // Tests and the demo drive the page by its address and look at the SDK's own store.
  Object.assign(window, { isotape: { hmsActions: visit.actions, hmsStore: visit.store } });
  void join({ ...wishes, name: wishes.name || "guest" });
} else {
  enter("preview");
  preview.open().catch(failed);
}
