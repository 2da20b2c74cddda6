import ts from "typescript";
import { expect, it } from "vitest";
import { moduleEntries } from "./built-package.js";
import { compile, installApp } from "./installed-app.js";

installApp();

const importAll = (specifiers: string[]): string =>
  specifiers.map((specifier, i) => `import * as m${i} from "${specifier}"; console.log(m${i});`).join("\n");

it("type-checks in a web app without Node's types", () => {
  const errors = compile("web.ts", importAll(["subrosa", "subrosa/mls"]), {
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    types: [],
  });
  expect(errors).toEqual([]);
});

it.each(["app.mts", "app.cts"])("type-checks in Node: %s", (name) => {
  const all = importAll(moduleEntries.map(({ specifier }) => specifier));
  expect(compile(name, all, { lib: ["lib.es2022.d.ts"], types: ["node"] })).toEqual([]);
});

it("knows the closed set of error codes", () => {
  const text = 'import { SubrosaError } from "subrosa"; new SubrosaError("no-such-code", "x");';
  const errors = compile("wrong.ts", text, { lib: ["lib.es2022.d.ts", "lib.dom.d.ts"], types: [] });
  expect(errors.join()).toContain('"no-such-code"');
});
