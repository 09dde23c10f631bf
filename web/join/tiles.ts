// The stage: a tile per peer and a big one per screen share, names, mute marks, who speaks.
//
// Before it: the SDK's store. After it: <video> elements that the SDK attaches and detaches. Sound is played by the SDK itself.

import { selectPeers, selectSpeakers, selectTracksMap } from "@100mslive/hms-video-store";
import type { HMSPeer, HMSTrack } from "@100mslive/hms-video-store";
import { find, make } from "./dom";
import { fill } from "./layout";
import type { Visit } from "./room";

// What a window shows without tiles too small to recognise a face; the rest are heard and counted.
const MOST_TILES = 12;
const GAP_PX = 8;
// Below this level (0..100) a microphone is open and nobody speaks.
const SPEAKING_LEVEL = 5;

type TileKind = "regular" | "screen";

interface Tile {
  element: HTMLElement;
  video: HTMLVideoElement;
  attached?: string | undefined;
}

interface Wanted {
  key: string;
  kind: TileKind;
  peer: HMSPeer;
  video: HMSTrack | undefined;
  muted: boolean;
}

export class Tiles {
  private readonly stage = find("stage");
  private readonly grid = find("tiles");
  private readonly screens = find("screens");
  private readonly more = find("more");
  private readonly tiles = new Map<string, Tile>();
  private readonly lastSpoke = new Map<string, number>();

  constructor(private readonly visit: Visit) {
    const { store } = visit;
    store.subscribe(() => this.draw(), selectPeers);
    store.subscribe(() => this.draw(), selectTracksMap);
    store.subscribe(() => this.markSpeakers(), selectSpeakers);
    new ResizeObserver(() => this.arrange()).observe(this.stage);
  }

  /** Takes every picture away, for a call that is over. */
  clear(): void {
    for (const key of [...this.tiles.keys()]) this.remove(key);
  }

  private draw(): void {
    if (!this.visit.connected) return;
    const wanted = this.wanted();
    const keys = new Set(wanted.map((tile) => tile.key));
    for (const key of [...this.tiles.keys()]) if (!keys.has(key)) this.remove(key);
    for (const tile of wanted) this.show(tile);
    this.markSpeakers();
    this.arrange();
  }

  private wanted(): Wanted[] {
    const { store } = this.visit;
    const tracks = store.getState(selectTracksMap);
    const peers = this.visible(store.getState(selectPeers));
    const wanted: Wanted[] = [];
    for (const peer of peers) {
      const mic = peer.audioTrack ? tracks[peer.audioTrack] : undefined;
      const camera = peer.videoTrack ? tracks[peer.videoTrack] : undefined;
      wanted.push({ key: `${peer.id}/regular`, kind: "regular", peer, video: camera?.enabled ? camera : undefined, muted: !mic?.enabled });
    }
    for (const peer of store.getState(selectPeers)) {
      const screen = peer.auxiliaryTracks.map((id) => tracks[id]).find((track) => track?.type === "video" && track.source === "screen");
      if (screen) wanted.push({ key: `${peer.id}/screen`, kind: "screen", peer, video: screen, muted: false });
    }
    return wanted;
  }

  /** Everybody up to the limit; beyond it oneself and those who spoke last. */
  private visible(peers: HMSPeer[]): HMSPeer[] {
    this.more.hidden = peers.length <= MOST_TILES;
    this.more.textContent = `and ${peers.length - MOST_TILES} more, who can be heard`;
    if (peers.length <= MOST_TILES) return peers;
    const rank = (peer: HMSPeer): number => (peer.isLocal ? Infinity : this.lastSpoke.get(peer.id) ?? 0);
    const chosen = new Set([...peers].sort((a, b) => rank(b) - rank(a)).slice(0, MOST_TILES));
    return peers.filter((peer) => chosen.has(peer));
  }

  private show(wanted: Wanted): void {
    const tile = this.tiles.get(wanted.key) ?? this.add(wanted);
    const { element } = tile;
    element.dataset["camera"] = wanted.video ? "on" : "off";
    element.dataset["muted"] = String(wanted.muted);
    const name = wanted.peer.isLocal ? `${wanted.peer.name} (you)` : wanted.peer.name;
    const label = wanted.kind === "screen" ? `Screen of ${name}` : name;
    setText(element, ".tile-name", label);
    setText(element, ".tile-initials", initials(wanted.peer.name));
    setText(element, ".tile-muted", wanted.muted ? "microphone off" : "");
    this.attach(tile, wanted.video?.id);
  }

  private add(wanted: Wanted): Tile {
    const element = make("figure", "tile");
    element.dataset["peer"] = wanted.peer.id;
    element.dataset["kind"] = wanted.kind;
    element.dataset["local"] = String(wanted.peer.isLocal);
    const video = make("video", "tile-video");
    video.autoplay = true;
    video.muted = true;
    video.playsInline = true;
    const caption = make("figcaption", "tile-caption");
    caption.append(make("span", "tile-muted"), make("span", "tile-name"));
    element.append(video, make("span", "tile-initials"), caption);
    (wanted.kind === "screen" ? this.screens : this.grid).append(element);
    const tile: Tile = { element, video };
    this.tiles.set(wanted.key, tile);
    return tile;
  }

  private attach(tile: Tile, track: string | undefined): void {
    if (tile.attached === track) return;
    if (tile.attached) this.visit.actions.detachVideo(tile.attached, tile.video).catch(() => undefined);
    tile.attached = track;
    if (track) this.visit.actions.attachVideo(track, tile.video).catch((error: unknown) => console.warn("no picture", error));
  }

  private remove(key: string): void {
    const tile = this.tiles.get(key);
    if (!tile) return;
    this.attach(tile, undefined);
    tile.element.remove();
    this.tiles.delete(key);
  }

  private markSpeakers(): void {
    const now = Date.now();
    const levels = new Map(Object.values(this.visit.store.getState(selectSpeakers)).map((speaker) => [speaker.peerID, speaker.audioLevel]));
    for (const [peer, level] of levels) if (level >= SPEAKING_LEVEL) this.lastSpoke.set(peer, now);
    for (const { element } of this.tiles.values()) {
      const level = levels.get(element.dataset["peer"] ?? "") ?? 0;
      const open = element.dataset["kind"] === "regular" && element.dataset["muted"] === "false";
      element.toggleAttribute("data-speaking", open && level >= SPEAKING_LEVEL);
    }
  }

  private arrange(): void {
    const sharing = this.screens.childElementCount > 0;
    this.stage.dataset["sharing"] = String(sharing);
    const { clientWidth, clientHeight } = this.grid;
    const grid = fill(this.grid.childElementCount, clientWidth, clientHeight, GAP_PX);
    this.grid.style.setProperty("--tile", `${grid.tileWidth}px`);
    const shares = fill(this.screens.childElementCount, this.screens.clientWidth, this.screens.clientHeight, GAP_PX);
    this.screens.style.setProperty("--tile", `${shares.tileWidth}px`);
  }
}

function setText(parent: HTMLElement, selector: string, text: string): void {
  const element = parent.querySelector(selector);
  if (element && element.textContent !== text) element.textContent = text;
}

/** `Ada Lovelace` → `AL`. */
function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  return [words[0], words.length > 1 ? words[words.length - 1] : undefined]
    .map((word) => (word ? [...word][0] : ""))
    .join("")
    .toUpperCase();
}
