(async () => {
  const { page, wait } = document.documentElement.dataset;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, Number(wait) * 1000));
    try {
      const response = await fetch(location.pathname + location.search, { method: "HEAD", cache: "no-store" });
      if (response.headers.get("X-Clawstead-Page") !== page) {
        location.reload();
        return;
      }
    } catch {
      // Not reachable at this moment: the next round tries again.
    }
  }
})();
