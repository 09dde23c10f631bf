// The level of one microphone as a bar that a person can watch while speaking.

// Speech at arm's length peaks near this amplitude; it fills the bar.
const FULL_AMPLITUDE = 0.35;

export class Meter {
  private context: AudioContext | undefined;
  private frame = 0;

  constructor(private readonly bar: HTMLMeterElement) {}

  /** Shows this track until `stop` or the next `show`. */
  show(track: MediaStreamTrack): void {
    this.stop();
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const draw = (): void => {
      analyser.getFloatTimeDomainData(samples);
      const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
      // Falls slower than it rises, so that the eye can follow.
      this.bar.value = Math.max(Math.min(peak / FULL_AMPLITUDE, 1), this.bar.value - 0.03);
      this.frame = requestAnimationFrame(draw);
    };
    this.context = context;
    draw();
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
    void this.context?.close();
    this.context = undefined;
    this.bar.value = 0;
  }
}
