"use strict";
// Photos that are dropped onto a page or chosen in it: sent one by one, then looked at together.

const box = document.getElementById("add"), adding = document.getElementById("adding");

const below = async entry => { // the files of a folder that was dropped, whatever its depth
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader(), found = [];
  for (let some; (some = await new Promise((done, fail) => reader.readEntries(done, fail))).length;) found.push(...some);
  return (await Promise.all(found.map(below))).flat();
};

const send = async files => {
  const photos = files.filter(one => !one.name.startsWith(".")), refused = [];
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  if (!box.open) box.showModal();
  for (const [place, file] of photos.entries()) {
    adding.textContent = `${place} of ${photos.length} copied`;
    try {
      const answer = await fetch(`/inbox?name=${encodeURIComponent(file.name)}`, { method: "POST", headers, body: file });
      if (!answer.ok) refused.push((await answer.text()).replace(/^reid: /, "").trim());
    } catch { return void (adding.textContent = "reid does not answer: it was stopped."); }
  }
  if (refused.length < photos.length) await htmx.ajax("POST", "/inbox/done", { target: "#adding" });
  else adding.textContent = "No photo among these.";
  if (refused.length) tell(`Left out: ${refused.slice(0, 3).join("; ")}${refused.length > 3 ? `; and ${refused.length - 3} more` : ""}`);
};

if (box) {
  const hasFiles = event => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragover", event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) box.showModal();
    box.classList.add("over");
  });
  document.addEventListener("dragleave", event => { if (!event.relatedTarget) box.classList.remove("over"); });
  document.addEventListener("drop", async event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    box.classList.remove("over");
    const files = [...event.dataTransfer.files], entries = [...event.dataTransfer.items].map(one => one.webkitGetAsEntry()).filter(Boolean);
    send(entries.length ? (await Promise.all(entries.map(below))).flat() : files);
  });
  box.addEventListener("change", event => {
    if (event.target.type === "file") { send([...event.target.files]); event.target.value = ""; }
  });
  document.body.addEventListener("added", () => { // told by the answer of the app
    box.close();
    if (!document.getElementById("pair")) htmx.ajax("GET", "/review", { target: "#main" });
  });
}
