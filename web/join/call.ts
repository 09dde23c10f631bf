// The bar under the stage and the marks above it: microphone, camera, share, leave; who is here, and whether it is recorded.

import {
  selectIsAllowedToPublish,
  selectIsLocalAudioEnabled,
  selectIsLocalScreenShared,
  selectIsLocalVideoEnabled,
  selectPeers,
  selectRecordingState,
} from "@100mslive/hms-video-store";
import { find } from "./dom";
import type { Visit } from "./room";

type Act = "mic" | "camera" | "share" | "leave";

export class Call {
  constructor(
    private readonly visit: Visit,
    private readonly failed: (error: unknown) => void,
    private readonly left: () => void,
  ) {
    for (const button of document.querySelectorAll<HTMLButtonElement>("[data-act]")) {
      button.addEventListener("click", () => void this.act(button.dataset["act"] as Act));
    }
    const { store } = visit;
    store.subscribe((on) => press("mic", on, "Microphone"), selectIsLocalAudioEnabled);
    store.subscribe((on) => press("camera", on, "Camera"), selectIsLocalVideoEnabled);
    store.subscribe((on) => press("share", Boolean(on), "Share screen"), selectIsLocalScreenShared);
    store.subscribe((allowed) => {
      offer("mic", allowed.audio);
      offer("camera", allowed.video);
      offer("share", allowed.screen && "getDisplayMedia" in (navigator.mediaDevices ?? {}));
    }, selectIsAllowedToPublish);
    store.subscribe((recording) => this.markRecording(Boolean(recording?.server?.running)), selectRecordingState);
    store.subscribe((peers) => {
      find("people").textContent = peers.length === 1 ? "1 person" : `${peers.length} people`;
    }, selectPeers);
  }

  private async act(act: Act): Promise<void> {
    const { actions, store } = this.visit;
    try {
      if (act === "mic") await actions.setLocalAudioEnabled(!store.getState(selectIsLocalAudioEnabled));
      if (act === "camera") await actions.setLocalVideoEnabled(!store.getState(selectIsLocalVideoEnabled));
      if (act === "share") await this.share(!store.getState(selectIsLocalScreenShared));
      if (act === "leave") this.left();
    } catch (error) {
      this.failed(error);
    }
  }

  /** The browser asks what to share and whether with sound. Closing its question is an answer, not a failure. */
  private async share(on: boolean): Promise<void> {
    try {
      await this.visit.actions.setScreenShareEnabled(on);
    } catch (error) {
      if ((error as { code?: number }).code !== 3001) throw error;
    }
  }

  private markRecording(on: boolean): void {
    for (const mark of document.querySelectorAll<HTMLElement>("[data-recording-mark]")) mark.hidden = !on;
    document.body.dataset["recording"] = String(on);
  }
}

function buttonsOf(act: Act): NodeListOf<HTMLButtonElement> {
  return document.querySelectorAll<HTMLButtonElement>(`[data-act="${act}"]`);
}

function press(act: Act, on: boolean, name: string): void {
  for (const button of buttonsOf(act)) {
    button.setAttribute("aria-pressed", String(on));
    button.title = `${name}: ${on ? "on" : "off"}`;
  }
}

function offer(act: Act, allowed: boolean): void {
  for (const button of buttonsOf(act)) button.hidden = !allowed;
}
