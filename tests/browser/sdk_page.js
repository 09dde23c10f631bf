// A page that is nothing but the unmodified client SDK with its store and actions on `window`, for tests to drive.
import { HMSReactiveStore, selectPeers, selectRecordingState, selectTracksMap, selectHMSMessages } from "@100mslive/hms-video-store";

const hms = new HMSReactiveStore();
hms.triggerOnSubscribe();
const actions = hms.getActions();
const store = hms.getStore();
const news = [];
hms.getNotifications().onNotification((one) => news.push(one.type));
const shown = new Map();

window.isotape = {
  actions,
  news,
  async join(code, name) {
    const token = await actions.getAuthTokenByRoomCode({ roomCode: code, userId: name }, { endpoint: `${location.origin}/v2/token` });
    // The SDK looks for `https://` somewhere in this URL and then asks its origin.
    await actions.join({ userName: name, authToken: token, initEndpoint: `${location.origin}/?x=https://prod` });
  },
  peers: () => store.getState(selectPeers).map((peer) => ({ name: peer.name, isLocal: peer.isLocal, tracks: peer.auxiliaryTracks.length })),
  recording: () => store.getState(selectRecordingState).server.state,
  messages: () => store.getState(selectHMSMessages).map((one) => one.message),
  // Remote tracks with what was decoded of the pictures so far.
  async remote() {
    const own = store.getState(selectPeers).find((peer) => peer.isLocal)?.id;
    const tracks = Object.values(store.getState(selectTracksMap)).filter((track) => track.peerId !== own);
    for (const track of tracks) {
      if (track.type === "video" && !shown.has(track.id)) {
        const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, width: 320 });
        document.body.append(video);
        shown.set(track.id, video);
        await actions.attachVideo(track.id, video);
      }
    }
    const frames = (track) => shown.get(track.id)?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
    return tracks.map((track) => ({ type: track.type, source: track.source, enabled: track.enabled, frames: frames(track) }));
  },
};
