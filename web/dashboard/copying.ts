// Copy buttons: `data-copy` holds the text. The button itself says that it is done, which a screen reader hears too.

const SAID_MS = 1500;

export function watchCopying(): void {
  document.addEventListener("click", (event) => {
    const button = (event.target as Element).closest<HTMLButtonElement>("[data-copy]");
    if (button) void copy(button, button.dataset["copy"] ?? "");
  });
}

export async function copy(button: HTMLButtonElement, text: string): Promise<void> {
  const word = button.querySelector(".copy-word") ?? button;
  const before = word.textContent;
  try {
    await navigator.clipboard.writeText(text);
    word.textContent = "Copied";
  } catch {
    // A page on plain http has no clipboard; the text can still be taken from here.
    window.prompt("Copy this:", text);
    return;
  }
  window.setTimeout(() => {
    word.textContent = before;
  }, SAID_MS);
}
