(async () => {
  const { page, wait } = document.documentElement.dataset;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, Number(wait) * 1000));
    try {
      const options = { method: "HEAD", cache: "no-store", redirect: "manual" };
      const response = await fetch(location.pathname + location.search, options);
      if (response.headers.get("X-Clawstead-Page") !== page) {
        location.reload();
        return;
      }
    } catch {
      // Not reachable at this moment: the next round tries again.
    }
  }
})();
