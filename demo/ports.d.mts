export declare function listenOnFreePort<T>(
  asked: string | undefined,
  first: number,
  listen: (port: number) => Promise<T>,
): Promise<T>;
