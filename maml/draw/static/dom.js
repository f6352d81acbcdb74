// Elements of the page.

export const at = id => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

// Changes what an element says only if it is another thing, for a screen reader reads it again.
export function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
