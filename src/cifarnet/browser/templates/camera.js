// The camera's live picture in the page, where the browser gives it: over HTTPS, from this machine's
// servers, from disk. Elsewhere a file input, which on phones opens the camera.

let stream = null;
let isAsking = false; // for the permission

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    element("camera").click();
    return;
  }
  if (isAsking || stream) return;
  isAsking = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    element("video").srcObject = stream;
    element("live").hidden = false;
    await element("video").play();
    element("take").focus();
    say("The camera is on.");
  } catch (error) {
    closeCamera();
    const reasons = { NotAllowedError: "it was not allowed", NotFoundError: "there is none" };
    say(`The camera cannot be used: ${reasons[error.name] ?? error.message}. Choose a file instead.`);
  }
  isAsking = false;
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("video").srcObject = null;
  element("live").hidden = true;
}

/** Show the current frame, whole, as any photo. */
function takePicture() {
  const { videoWidth, videoHeight } = element("video");
  const canvas = document.createElement("canvas");
  canvas.width = videoWidth;
  canvas.height = videoHeight;
  canvas.getContext("2d").drawImage(element("video"), 0, 0);
  canvas.toBlob((file) => show(file, "photo"));
  element("photograph").focus();
}

element("photograph").addEventListener("click", openCamera);
element("take").addEventListener("click", takePicture);
element("dismiss").addEventListener("click", () => {
  closeCamera();
  say("The camera is off.");
  element("photograph").focus();
});
