// Replaces the page's camera, microphone and screen with ones whose content says whose they are and when they were taken.
// The client SDK is not touched: it asks the browser for devices as always. `stamp` is {peer, tone}: a number from 0 to 7 and a pitch in Hz.
//
// A picture carries four rows of 16 cells, white for 1: peer (4 bits; a screen adds 8) and a counter (12 bits) · the sound clock in
// milliseconds (16 bits) · the page's clock in milliseconds (16 bits) · 1010… as proof that the picture is readable. The sound is the peer's
// tone, and every 2 s of the sound clock 100 ms of a 3 kHz beep: the AudioContext's clock times both. It stands still when a busy machine
// cannot make sound in time; the page's clock does not.
((stamp) => {
  const COLUMNS = 16;
  const BEEP_EVERY_S = 2;
  const BEEP_S = 0.1;
  const FRAME_MS = 1000 / 30;
  // Firefox answers only the first requestFrame of a canvas; there the track takes every change of the canvas at the next refresh of the page.
  const TAKES_EACH_CHANGE = navigator.userAgent.includes("Firefox");
  const audio = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });

  function makeSound(tone) {
    const out = audio.createMediaStreamDestination();
    out.channelCount = 1;
    connect(tone, 0.1, out);
    const gate = connect(3000, 0, out);
    const schedule = (from) => {
      for (let at = Math.ceil(from / BEEP_EVERY_S) * BEEP_EVERY_S; at < from + 600; at += BEEP_EVERY_S) {
        gate.gain.setValueAtTime(0.7, at);
        gate.gain.setValueAtTime(0, at + BEEP_S);
      }
    };
    schedule(audio.currentTime + 0.1);
    return out.stream.getAudioTracks()[0];
  }

  function connect(pitch, level, out) {
    const source = new OscillatorNode(audio, { frequency: pitch });
    const gain = new GainNode(audio, { gain: level });
    source.connect(gain).connect(out);
    source.start();
    return gain;
  }

  function makePicture(id, width, height) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const pen = canvas.getContext("2d", { alpha: false });
    const track = (TAKES_EACH_CHANGE ? canvas.captureStream() : canvas.captureStream(0)).getVideoTracks()[0];
    const shown = withClones(track);
    let counter = 0;
    const timer = setInterval(() => {
      if (shown.every(({ readyState }) => readyState === "ended")) return clearInterval(timer);
      draw(pen, canvas, [(id << 12) | (counter & 0xfff), Math.round(audio.currentTime * 1000) & 0xffff,
        Math.round(performance.now()) & 0xffff, 0xaaaa]);
      counter += 1;
      if (!TAKES_EACH_CHANGE) track.requestFrame();
    }, FRAME_MS);
    return track;
  }

  // A client that makes its connections anew publishes a clone and ends the first: the device goes on while any of them lives.
  function withClones(track, all = []) {
    all.push(track);
    track.clone = () => withClones(Object.assign(MediaStreamTrack.prototype.clone.call(track), { shown: track.shown }), all).at(-1);
    return all;
  }

  function draw(pen, { width, height }, rows) {
    pen.fillStyle = `hsl(${(stamp.peer * 60) % 360} 60% 40%)`;
    pen.fillRect(0, 0, width, height);
    const cell = width / COLUMNS;
    rows.forEach((bits, row) => {
      for (let column = 0; column < COLUMNS; column += 1) {
        pen.fillStyle = (bits >> (COLUMNS - 1 - column)) & 1 ? "white" : "black";
        pen.fillRect(column * cell, (row * height) / 6, cell, height / 6);
      }
    });
  }

  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await audio.resume();
    const tracks = [];
    if (wanted.audio) tracks.push(makeSound(stamp.tone));
    if (wanted.video) tracks.push(makePicture(stamp.peer, 640, 360));
    return new MediaStream(tracks);
  };
  navigator.mediaDevices.getDisplayMedia = async (wanted) => {
    await audio.resume();
    const tracks = [Object.assign(makePicture(stamp.peer + 8, 1280, 720), { shown: "screen" })];
    if (wanted.audio) tracks.push(makeSound(stamp.tone * 2));
    return new MediaStream(tracks);
  };
})
