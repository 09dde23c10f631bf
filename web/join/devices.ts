// The device pickers. The same three stand in the preview and, later, behind the gear of the call.

import { selectDevices, selectLocalMediaSettings } from "@100mslive/hms-video-store";
import { find } from "./dom";
import type { Visit } from "./room";

type Kind = "videoInput" | "audioInput" | "audioOutput";

const PICKERS: { kind: Kind; id: string; chosen: "videoInputDeviceId" | "audioInputDeviceId" | "audioOutputDeviceId" }[] = [
  { kind: "videoInput", id: "pick-camera", chosen: "videoInputDeviceId" },
  { kind: "audioInput", id: "pick-microphone", chosen: "audioInputDeviceId" },
  { kind: "audioOutput", id: "pick-speaker", chosen: "audioOutputDeviceId" },
];

export class Devices {
  constructor(
    private readonly visit: Visit,
    private readonly failed: (error: unknown) => void,
  ) {
    for (const { kind, id } of PICKERS) {
      find<HTMLSelectElement>(id).addEventListener("change", (event) => void this.choose(kind, (event.target as HTMLSelectElement).value));
    }
    visit.store.subscribe(() => this.fill(), selectDevices);
    visit.store.subscribe(() => this.fill(), selectLocalMediaSettings);
  }

  private fill(): void {
    const devices = this.visit.store.getState(selectDevices);
    const settings = this.visit.store.getState(selectLocalMediaSettings);
    for (const { kind, id, chosen } of PICKERS) {
      const picker = find<HTMLSelectElement>(id);
      const found = (devices[kind] ?? []).filter((device) => device.deviceId !== "");
      picker.replaceChildren(...found.map((device, index) => new Option(device.label || `${kind} ${index + 1}`, device.deviceId)));
      picker.value = settings[chosen] ?? "";
      picker.disabled = found.length === 0;
      picker.closest("label")?.toggleAttribute("hidden", kind === "audioOutput" && found.length === 0);
    }
  }

  private async choose(kind: Kind, deviceId: string): Promise<void> {
    try {
      if (kind === "videoInput") await this.visit.actions.setVideoSettings({ deviceId });
      if (kind === "audioInput") await this.visit.actions.setAudioSettings({ deviceId });
      if (kind === "audioOutput") await this.visit.actions.setAudioOutputDevice(deviceId);
    } catch (error) {
      this.failed(error);
    }
  }
}
