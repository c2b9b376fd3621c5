// Brings the tables up to date every second, and leaves the form alone.
async function refresh() {
  try {
    const page = await (await fetch("/")).text();
    const fresh = new DOMParser().parseFromString(page, "text/html");
    const live = fresh.getElementById("live");
    if (live) document.getElementById("live").replaceWith(live);
  } catch {
    // the shop was killed; it will be back
  }
  setTimeout(refresh, 1000);
}
setTimeout(refresh, 1000);
