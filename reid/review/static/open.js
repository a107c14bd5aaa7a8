"use strict";
// The code stands behind the #, which browsers do not send. It works once.
const code = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
fetch("/open", { method: "POST", body: new URLSearchParams({ code }) }).then(answer => {
  if (answer.ok) location.replace("/");
  else document.querySelector("main").hidden = false;
});
