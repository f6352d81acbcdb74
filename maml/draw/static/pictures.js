// Pictures and zips from files, and pictures from the camera, as data URLs that the server reads.

const LONGEST = 1600; // pixels of a side; the server needs no more, and a photograph may have 50 million

// The picture in a file; reduced, unless the browser cannot read it: perhaps the server can.
export async function dataUrl(file) {
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { return asItIs(file); }
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(scale * bitmap.width));
  canvas.height = Math.max(1, Math.round(scale * bitmap.height));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  // WebP keeps transparency, unlike JPEG; a browser that does not write it writes a PNG
  return canvas.toDataURL(file.type === "image/jpeg" ? "image/jpeg" : "image/webp", 0.92);
}

// The content of a file, whatever it is.
export function asItIs(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.replace(/^data:;/, "data:unknown/unknown;"));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

export const images = files => [...files].filter(file => file.type.startsWith("image/") || !file.type);

export const isZip = file => file.name.toLowerCase().endsWith(".zip");

// Files that the user chooses; none if he cancels. With `capture`, a telephone opens its camera.
export function choose({ accept = "image/*", multiple = false, capture = false } = {}) {
  const input = Object.assign(document.createElement("input"), { type: "file", accept, multiple });
  if (capture) input.setAttribute("capture", "environment");
  return new Promise(resolve => {
    input.addEventListener("change", () => resolve([...input.files]));
    input.addEventListener("cancel", () => resolve([]));
    input.click();
  });
}

// A photograph that the user takes, in a list; none if he cancels. Browsers lend a page the camera on
// this machine and over https alone; elsewhere, a telephone takes the picture as a file.
export async function photograph(dialog) {
  if (!navigator.mediaDevices?.getUserMedia) return choose({ capture: true });
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const video = dialog.querySelector("video");
  video.srcObject = stream;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
  const taken = dialog.returnValue === "take" && video.videoWidth ? await frame(video) : null;
  for (const track of stream.getTracks()) track.stop();
  video.srcObject = null;
  return taken ? [taken] : [];
}

function frame(video) {
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise(resolve => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
