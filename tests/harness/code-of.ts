/** The code with which a call is refused; `done` where it is not. */
export function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "done",
    (error: { code?: unknown }) => String(error.code),
  );
}
