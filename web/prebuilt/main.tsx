// The second join page: the unmodified Prebuilt UI, told where our server is. Its bundle is made by `make prebuilt` alone.
//
// Before it: the address of the page, which carries the room code. After it: HMSPrebuilt, which draws everything. What it would fetch
// from other hosts (fonts, effects, its maker's reports) the policy of the page keeps off the wire.

import { HMSAudioMode, selectLocalAudioTrackID } from "@100mslive/react-sdk";
import { HMSPrebuilt } from "@100mslive/roomkit-react";
import type { HMSPrebuiltRefType } from "@100mslive/roomkit-react";
import { createRef } from "react";
import { createRoot } from "react-dom/client";

// The SDK caps a microphone at 32 kbit/s unless it is told that it carries music; an archive deserves more. The cap is in kbit/s.
const MICROPHONE = { audioMode: HMSAudioMode.MUSIC, maxBitrate: 128 };
const { origin, protocol, search } = location;

// The SDK looks for `https://` in the first and takes only its origin; on plain http (this machine) the text goes into the query.
const endpoints = {
  init: protocol === "https:" ? origin : `${origin}/?x=https://prod`,
  tokenByRoomCode: `${origin}/v2/token`,
  roomLayout: `${origin}/v2/layouts/ui`,
  event: origin,
};

// The UI asks for drawings of emoji, which another host would have to serve; the browser has characters for them.
const emoji = customElements.get("em-emoji")!.prototype as HTMLElement;
emoji.setAttribute = function (name: string, value: string): void {
  HTMLElement.prototype.setAttribute.call(this, name, name === "set" ? "native" : value);
};

// What the built-in layout leaves out although the server does it: raised hands, and "be right back".
const screens = { conferencing: { default: { elements: { hand_raise: {}, brb: {} } } } };

const prebuilt = createRef<HMSPrebuiltRefType>();

/** Once per published microphone: the track may come after the join, and comes again after a role change. */
function raiseMicrophoneQuality(): void {
  const { hmsActions, hmsStore } = prebuilt.current!;
  let raised: string | undefined;
  hmsStore.subscribe((track) => {
    if (!track || track === raised) return;
    raised = track;
    hmsActions.setAudioSettings(MICROPHONE).catch((error: unknown) => console.warn("microphone quality stays as it was", error));
  }, selectLocalAudioTrackID);
}

const place = document.getElementById("prebuilt")!;
createRoot(place).render(
  <HMSPrebuilt
    ref={prebuilt}
    roomCode={place.dataset["code"]!}
    options={{ userName: new URLSearchParams(search).get("name") ?? "", endpoints }}
    screens={screens}
    onJoin={raiseMicrophoneQuality}
  />,
);
