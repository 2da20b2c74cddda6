/**
 * Listens on the port that was asked for, else on the first free one from `first` on.
 * @template T
 * @param {string | undefined} asked
 * @param {number} first
 * @param {(port: number) => Promise<T>} listen
 * @returns {Promise<T>}
 */
export async function listenOnFreePort(asked, first, listen) {
  if (asked) {
    const port = Number(asked);
    return listen(port).catch((error) => {
      throw error.code === "EADDRINUSE" ? new Error(`port ${port} is in use`) : error;
    });
  }
  for (let port = first; ; port++) {
    try {
      return await listen(port);
    } catch (error) {
      if (error.code !== "EADDRINUSE" || port === first + 50) throw error;
    }
  }
}
