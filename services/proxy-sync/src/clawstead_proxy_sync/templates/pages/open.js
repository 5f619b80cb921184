(() => {
  const title = document.querySelector("h1");
  const text = document.querySelector("p");
  const halt = (heading, message) => {
    title.textContent = heading;
    text.textContent = message;
    document.body.className = "halted";
  };
  const again = "A link works once and for one minute. Ask for a new one where you got this one.";
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  history.replaceState(null, "", location.pathname);
  if (!ticket) {
    halt("This link is incomplete", again);
    return;
  }
  let answered = false;
  const socket = new WebSocket(`wss://${location.host}/ws/dashboard`);
  const deadline = setTimeout(() => socket.close(), 60000);
  socket.onopen = () => socket.send(JSON.stringify({ type: "auth", ticket }));
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.type === "redirect") {
      const target = new URL(message.url);
      if (target.protocol !== "https:" || !target.hostname.endsWith(`.${location.hostname}`)) {
        halt("This dashboard cannot be opened", "The answer leads to a place outside this platform.");
      } else {
        location.replace(target.href);
      }
    } else if (message.type === "error") {
      halt("The dashboard did not open", `${message.message} ${again}`);
    } else {
      return;
    }
    answered = true;
    clearTimeout(deadline);
    socket.close();
  };
  socket.onclose = () => {
    if (!answered) {
      halt("The dashboard did not open", `The platform did not answer. ${again}`);
    }
  };
})();
