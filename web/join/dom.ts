// The elements of join.html, found once by id. A missing one is a mistake in the template, so it throws at start.

export function find<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`join page: no element #${id}`);
  return element as T;
}

/** Makes an element with a class and text. Text is always set as text, never as HTML: names come from other people. */
export function make<K extends keyof HTMLElementTagNameMap>(tag: K, className: string, text = ""): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
