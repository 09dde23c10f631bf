// One visit of one room: the unmodified client SDK, told where our server is.
//
// Before it: the address of the page, which carries the room code. After it: preview.ts and call.ts, which show what the store holds.
// Nothing here draws.

import {
  HMSAudioMode,
  HMSReactiveStore,
  HMSRoomState,
  selectIsConnectedToRoom,
  selectLocalAudioTrackID,
  selectRoomState,
} from "@100mslive/hms-video-store";
import type { HMSConfig } from "@100mslive/hms-video-store";

// The SDK caps a microphone at 32 kbit/s unless it is told that it carries music; an archive deserves more. The cap is in kbit/s.
const MICROPHONE = { audioMode: HMSAudioMode.MUSIC, maxBitrate: 128 };

/** What the address asks for: `?name=…&auto=1&mic=0&cam=0`. */
export interface Wishes {
  name: string;
  auto: boolean;
  mic: boolean;
  camera: boolean;
}

export function readWishes(query: string): Wishes {
  const given = new URLSearchParams(query);
  return {
    name: given.get("name") ?? "",
    auto: given.get("auto") === "1",
    mic: given.get("mic") !== "0",
    camera: given.get("cam") !== "0",
  };
}

export class Visit {
  readonly hms = new HMSReactiveStore();
  readonly store = this.hms.getStore();
  readonly actions = this.hms.getActions();
  readonly notifications = this.hms.getNotifications();
  private config: HMSConfig | undefined;

  constructor(private readonly code: string) {
    this.hms.triggerOnSubscribe();
  }

  async preview(wishes: Wishes): Promise<void> {
    await this.actions.preview(await this.configured(wishes));
  }

  async join(wishes: Wishes): Promise<void> {
    await this.actions.join(await this.configured(wishes));
    this.raiseMicrophoneQuality();
  }

  async leave(): Promise<void> {
    if (this.store.getState(selectRoomState) !== HMSRoomState.Disconnected) await this.actions.leave();
  }

  get connected(): boolean {
    return Boolean(this.store.getState(selectIsConnectedToRoom));
  }

  /** The same token serves preview and join: the server binds the peer to it. */
  private async configured(wishes: Wishes): Promise<HMSConfig> {
    const authToken =
      this.config?.authToken ??
      (await this.actions.getAuthTokenByRoomCode({ roomCode: this.code }, { endpoint: `${location.origin}/v2/token` }));
    this.config = {
      userName: wishes.name,
      authToken,
      initEndpoint: initEndpoint(),
      rememberDeviceSelection: true,
      settings: { isAudioMuted: !wishes.mic, isVideoMuted: !wishes.camera },
    };
    return this.config;
  }

  /** Once per published microphone: the track may come after the join, and comes again after a role change. */
  private raiseMicrophoneQuality(): void {
    let raised: string | undefined;
    this.store.subscribe((track) => {
      if (!track || track === raised || !this.connected) return;
      raised = track;
      this.actions.setAudioSettings(MICROPHONE).catch((error: unknown) => console.warn("microphone quality stays as it was", error));
    }, selectLocalAudioTrackID);
  }
}

/** The SDK looks for `https://` in the endpoint and takes only its origin; on plain http (this machine) the text goes into the query. */
function initEndpoint(): string {
  return location.protocol === "https:" ? location.origin : `${location.origin}/?x=https://prod`;
}
