/** Counts the signatures verified in this process. To be called before the first one is: the engine's method is kept. */
export function watchVerifications(): { readonly done: number } {
  const prototype = Object.getPrototypeOf(crypto.subtle) as SubtleCrypto;
  const { verify } = prototype;
  const watch = { done: 0 };
  prototype.verify = async function (this: SubtleCrypto, ...args: Parameters<SubtleCrypto["verify"]>) {
    try {
      return await Reflect.apply(verify, this, args);
    } finally {
      watch.done++;
    }
  } as SubtleCrypto["verify"];
  return watch;
}
