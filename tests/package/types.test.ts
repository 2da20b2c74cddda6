import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, expect, it } from "vitest";
import { moduleEntries, root } from "./built-package.js";

let folder: string;

/** An app of its own that installed the package. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "subrosa-types-"));
  mkdirSync(join(folder, "node_modules/@types"), { recursive: true });
  symlinkSync(root, join(folder, "node_modules/subrosa"));
  symlinkSync(join(root, "node_modules/@types/node"), join(folder, "node_modules/@types/node"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function compile(name: string, text: string, options: ts.CompilerOptions): string[] {
  const file = join(folder, name);
  writeFileSync(file, text);
  const program = ts.createProgram([file], {
    strict: true,
    noEmit: true,
    // An app may check the declarations it imports.
    skipLibCheck: false,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    ...options,
  });
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => {
    const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
    return `${diagnostic.file?.fileName ?? ""}: ${message}`;
  });
}

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
