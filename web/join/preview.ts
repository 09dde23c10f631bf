// Before the call: your own picture, your level, your devices, your name. Joining is the one thing to do here.

import {
  selectIsLocalAudioEnabled,
  selectIsLocalVideoEnabled,
  selectLocalAudioTrackID,
  selectLocalVideoTrackID,
  selectSpeakers,
} from "@100mslive/hms-video-store";
import { find } from "./dom";
import type { Visit, Wishes } from "./room";

// A name typed once is there the next time; nothing else about a person is kept in the browser by this page.
const NAME_KEY = "isotape.name";

export class Preview {
  private readonly name = find<HTMLInputElement>("name");
  private readonly video = find<HTMLVideoElement>("preview-video");
  private readonly level = find<HTMLMeterElement>("level");
  private shown: string | undefined;

  constructor(
    private readonly visit: Visit,
    private readonly wishes: Wishes,
    private readonly joining: (wishes: Wishes) => Promise<void>,
  ) {
    this.name.value = wishes.name || localStorage.getItem(NAME_KEY) || "";
    find<HTMLFormElement>("join-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.join();
    });
    visit.store.subscribe(() => void this.showPicture(), selectLocalVideoTrackID);
    visit.store.subscribe(() => void this.showPicture(), selectIsLocalVideoEnabled);
    visit.store.subscribe(() => this.showLevel(), selectSpeakers);
  }

  /** Takes the devices. The name may still be missing: the SDK wants one, the server shows it only after the join. */
  async open(): Promise<void> {
    await this.visit.preview({ ...this.wishes, name: this.name.value || "preview" });
  }

  private async join(): Promise<void> {
    const name = this.name.value.trim();
    localStorage.setItem(NAME_KEY, name);
    const { store } = this.visit;
    const track = store.getState(selectLocalAudioTrackID);
    await this.joining({
      ...this.wishes,
      name,
      mic: track ? Boolean(store.getState(selectIsLocalAudioEnabled)) : this.wishes.mic,
      camera: store.getState(selectLocalVideoTrackID) ? Boolean(store.getState(selectIsLocalVideoEnabled)) : this.wishes.camera,
    });
    this.close();
  }

  close(): void {
    if (this.shown) void this.visit.actions.detachVideo(this.shown, this.video).catch(() => undefined);
    this.shown = undefined;
  }

  private async showPicture(): Promise<void> {
    const { store, actions } = this.visit;
    const track = store.getState(selectLocalVideoTrackID);
    const on = Boolean(store.getState(selectIsLocalVideoEnabled)) && document.body.dataset["state"] === "preview";
    find("preview-picture").dataset["camera"] = on ? "on" : "off";
    const wanted = on ? track : undefined;
    if (wanted === this.shown) return;
    if (this.shown) await actions.detachVideo(this.shown, this.video).catch(() => undefined);
    this.shown = wanted;
    if (wanted) await actions.attachVideo(wanted, this.video);
  }

  /** The SDK measures the microphone (0..100) as long as the preview is open. */
  private showLevel(): void {
    const { store } = this.visit;
    const track = store.getState(selectLocalAudioTrackID);
    this.level.value = (track ? store.getState(selectSpeakers)[track]?.audioLevel : 0) ?? 0;
  }
}
