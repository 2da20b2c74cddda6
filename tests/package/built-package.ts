import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const readText = (path: string): string => readFileSync(root + path, "utf8");

interface Manifest {
  name: string;
  version: string;
  exports: Record<string, string | Record<"import" | "require", { types: string; default: string }>>;
  bin: Record<string, string>;
  dependencies: Record<string, string>;
  optionalDependencies: Record<string, string>;
  peerDependencies?: Record<string, string>;
  peerDependenciesMeta?: Record<string, { optional?: boolean }>;
}

export const manifest = JSON.parse(readText("package.json")) as Manifest;

if (!existsSync(`${root}dist/index.js`)) throw new Error("dist/ is empty: run `npm run build` first");

/** The subpaths that hold modules: `.`, `./node`, … */
export const moduleEntries = Object.entries(manifest.exports).flatMap(([subpath, target]) =>
  typeof target === "string" ? [] : [{ subpath, target, specifier: posix.join(manifest.name, subpath) }],
);

const execute = promisify(execFile);

/** What a program printed; throws with all of it when the program fails. */
export async function runProgram(program: string, ...args: string[]): Promise<string> {
  try {
    return (await execute(program, args, { cwd: root })).stdout.trim();
  } catch (error) {
    const { message, stdout } = error as Error & { stdout: string };
    throw new Error(`${message}\n${stdout}`);
  }
}

/** Runs a program of a development dependency. */
export const runTool = (name: string, ...args: string[]): Promise<string> =>
  runProgram(`${root}node_modules/.bin/${name}`, ...args);

/** Runs a script in a fresh Node whose imports resolve like those of an app that installed the package. */
export const runNode = (script: string, type: "module" | "commonjs"): Promise<string> =>
  runProgram(process.execPath, `--input-type=${type}`, "-e", script);

function importsOf(path: string): string[] {
  const source = ts.createSourceFile(path, readText(path), ts.ScriptTarget.ESNext, true, ts.ScriptKind.JS);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      found.push((node.moduleSpecifier as ts.StringLiteral).text);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      found.push(argument && ts.isStringLiteralLike(argument) ? argument.text : "(computed)");
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

export interface Reach {
  /** Files of dist/ that loading the entry can load, the entry included. */
  chunks: string[];
  /** Packages and Node modules they import. */
  externals: string[];
  /** Files of src/ whose code is in them. */
  sources: string[];
}

/** Everything that an ESM file of dist/ can load, dynamic imports included. */
export function reachFrom(entry: string): Reach {
  const chunks = new Set([posix.normalize(entry)]);
  const externals = new Set<string>();
  const sources = new Set<string>();
  for (const chunk of chunks) {
    for (const specifier of importsOf(chunk)) {
      if (specifier.startsWith(".")) chunks.add(posix.join(posix.dirname(chunk), specifier));
      else externals.add(specifier);
    }
    const map = JSON.parse(readText(`${chunk}.map`)) as { sources: string[] };
    for (const source of map.sources) sources.add(posix.join(posix.dirname(chunk), source));
  }
  return { chunks: [...chunks], externals: [...externals].sort(), sources: [...sources].sort() };
}
