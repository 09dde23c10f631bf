// A customer's program with the unmodified @100mslive/server-sdk. Reads what to do from the environment, prints what it got as JSON.
// API_URL: base URL of the API; empty: the SDK's own, which https_proxy leads to the server under test.
import { createHash } from "node:crypto";
import HMS from "@100mslive/server-sdk";

const { ACCESS_KEY, APP_SECRET, API_URL, SESSION_ID, WRONG_SECRET } = process.env;
const hms = new HMS.SDK(ACCESS_KEY, APP_SECRET);
const stranger = new HMS.SDK(ACCESS_KEY, WRONG_SECRET);
if (API_URL) {
  for (const sdk of [hms, stranger]) sdk.api.axios.defaults.baseURL = `${API_URL}/v2`;
}

async function every(iterator) {
  const found = [];
  for await (const item of iterator) found.push(item);
  return found;
}

async function refusal(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { code: error.code, message: error.message };
  }
}

const room = await hms.rooms.create({ name: "from-node", description: "one" });
const codes = await hms.roomCodes.create(room.id);
const assets = await every(hms.recordingAssets.list({ session_id: SESSION_ID, asset_type: "stream" }));
const wide = await every(hms.recordingAssets.list({ session_id: SESSION_ID, type: "stream", limit: 200 }));
const exact = await every(hms.recordingAssets.list({ session_id: SESSION_ID, limit: 5 }));
const first = await hms.recordingAssets.retrieve(assets[0].id);
const signed = await hms.recordingAssets.generatePreSignedURL(first.id, 600);

// A player asks for parts; the parts put together are the file.
const parts = [];
for (let start = 0; start < first.size; start += 100_000) {
  const answer = await fetch(signed.url, { headers: { Range: `bytes=${start}-${Math.min(start + 100_000, first.size) - 1}` } });
  if (answer.status !== 206) throw new Error(`range answered ${answer.status}`);
  parts.push(Buffer.from(await answer.arrayBuffer()));
}

const result = {
  token: (await hms.auth.getManagementToken()).token,
  appToken: (await hms.auth.getAuthToken({ roomId: room.id, role: "host", userId: "node" })).token,
  room: { id: room.id, byName: (await hms.rooms.retrieveByName("from-node")).id },
  updated: (await hms.rooms.update(room.id, { description: "two" })).description,
  disabled: (await hms.rooms.enableOrDisable(room.id, false)).enabled,
  codes: codes.map(({ role, code }) => ({ role, code })),
  code: (await hms.roomCodes.enableOrDisable(codes[0].code, false)).enabled,
  assets: assets.map(({ id }) => id),
  wide: wide.length,
  exact: exact.length,
  createdAt: first.created_at.toISOString(),
  expiry: signed.expiry,
  sha256: createHash("sha256").update(Buffer.concat(parts)).digest("hex"),
  session: Object.values((await hms.sessions.retrieveById(SESSION_ID)).peers).map(({ name }) => name),
  job: (await hms.recordings.retrieve(first.job_id)).recording_assets.length,
  start: await refusal(() => hms.recordings.start(room.id, { meeting_url: "https://example.com" })),
  unknown: await refusal(() => hms.recordingAssets.retrieve("65f000000000000000000001")),
  stranger: await refusal(() => every(stranger.rooms.list())),
};
console.log(JSON.stringify(result));
