// Move a playhead over the pictures while the audio plays; clicking a picture plays from that point.
"use strict";
const audio = document.querySelector("audio");
const length = Number(audio.dataset.length);
const lines = [];
for (const picture of document.querySelectorAll(".timed")) {
  const left = Number(picture.dataset.left);
  const width = Number(picture.dataset.right) - left;
  const line = document.createElement("div");
  line.className = "playhead";
  line.hidden = true;
  picture.append(line);
  lines.push((share) => {
    line.hidden = false;
    line.style.left = `${100 * (left + width * share)}%`;
  });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - left) / width;
    if (share < 0 || share > 1) return;
    audio.currentTime = share * length;
    // If the browser blocks playback, the position still moves to the point that was clicked.
    audio.play().catch(() => {});
  });
}
const move = () => {
  for (const line of lines) line(Math.min(audio.currentTime / length, 1));
};
const follow = () => {
  move();
  if (!audio.paused) requestAnimationFrame(follow);
};
audio.addEventListener("play", follow);
audio.addEventListener("seeked", move);
