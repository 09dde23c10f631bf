// Forms: the viewer's time zone for the day filter, the sizes that fill two fields, and changes that are not saved yet.

const UNSAVED = "Unsaved changes";

export function watchForms(): void {
  for (const field of document.querySelectorAll<HTMLInputElement>("[data-zone]")) {
    field.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  }
  for (const form of document.querySelectorAll<HTMLFormElement>("form[data-unsaved]")) announceChanges(form);
}

function announceChanges(form: HTMLFormElement): void {
  const saved = state(form);
  const mark = form.querySelector("[data-unsaved-mark]");
  let sending = false;
  const look = (): void => {
    if (mark) mark.textContent = state(form) === saved ? "" : UNSAVED;
  };
  form.addEventListener("input", look);
  form.addEventListener("submit", () => {
    sending = true;
  });
  form.addEventListener("click", (event) => {
    const size = (event.target as Element).closest<HTMLButtonElement>("[data-width]");
    if (!size) return;
    fillIn(form, "width", size.dataset["width"]);
    fillIn(form, "height", size.dataset["height"]);
    look();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!sending && state(form) !== saved) event.preventDefault();
  });
}

function fillIn(form: HTMLFormElement, name: string, value = ""): void {
  const field = form.elements.namedItem(name);
  if (field instanceof HTMLInputElement) field.value = value;
}

function state(form: HTMLFormElement): string {
  return new URLSearchParams([...new FormData(form)].map(([name, value]) => [name, String(value)])).toString();
}
