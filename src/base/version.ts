/** The version in package.json, put in by the build. */
declare const __SUBROSA_VERSION__: string | undefined;

export const VERSION: string = typeof __SUBROSA_VERSION__ === "string" ? __SUBROSA_VERSION__ : "0.0.0-source";
