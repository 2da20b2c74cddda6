import ts from "typescript";

/** The import table of the design: folder under src/ → folders it may import besides itself. */
export const ALLOWED_IMPORTS: Record<string, readonly string[]> = {
  base: [],
  codec: ["base"],
  crypto: ["base"],
  hpke: ["crypto", "base"],
  mls: ["hpke", "crypto", "codec", "base"],
  wire: ["codec", "base"],
  transport: ["wire", "base"],
  stores: ["crypto", "base"],
  client: ["stores", "transport", "wire", "mls", "hpke", "crypto", "codec", "base"],
  relay: ["wire", "codec", "crypto", "base"],
};

/** The files that lie in src/ itself → folders (and other such files) they may import. */
export const ALLOWED_IN_ENTRIES: Record<string, readonly string[]> = {
  "index.ts": ["client", "stores", "transport", "wire", "crypto", "base"],
  "node.ts": ["client", "stores", "crypto", "base"],
  "mls.ts": ["mls", "hpke", "crypto", "codec", "base"],
  "relay.ts": ["relay", "wire", "base"],
  "relay-cli.ts": ["relay.ts", "relay", "wire", "base"],
};

/** Files that run in Node only and may use its modules. Nothing that a browser loads may reach them. */
const NODE_ONLY =
  /^(relay\/|(base|crypto)\/node-|client\/attachments\/node-|stores\/(node|lmdb)|(node|relay|relay-cli)\.ts$)/;
const BROWSER_ENTRIES = ["index.ts", "mls.ts"];

/** Package → the files that may import it. What is not listed may not be imported at all. */
const PACKAGES: Record<string, RegExp> = {
  "isomorphic-ws": /^transport\/websocket\.ts$/,
  idb: /^stores\//,
  ws: /^relay\//,
  lmdb: /^(relay\/|stores\/(node|lmdb))/,
  redis: /^relay\/redis\//,
};

const MAX_LINES = 400;
const KEBAB_CASE = /^([a-z0-9]+-)*[a-z0-9]+\.ts$/;
const EMPTY_NAMES = /(^|-)(utils?|helpers?|misc|common|shared|stuff)(-|\.ts$)/;

interface Import {
  specifier: string;
  /** True when nothing of it is left after compilation. */
  typeOnly: boolean;
}

interface SourceFacts {
  imports: Import[];
  /** Uses of `crypto.subtle`, `getRandomValues`, `randomUUID`, found in the code and not in comments. */
  cryptography: string[];
  buffer: boolean;
  lines: number;
}

function isTypeOnly(node: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isExportDeclaration(node)) return node.isTypeOnly;
  return node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
}

function readFacts(path: string, text: string): SourceFacts {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true);
  const facts: SourceFacts = { imports: [], cryptography: [], buffer: false, lines: text.split("\n").length };
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      const specifier = (node.moduleSpecifier as ts.StringLiteral).text;
      facts.imports.push({ specifier, typeOnly: isTypeOnly(node) });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      const specifier = argument && ts.isStringLiteralLike(argument) ? argument.text : "(computed)";
      facts.imports.push({ specifier, typeOnly: false });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      const { literal } = node.argument;
      if (ts.isStringLiteral(literal)) facts.imports.push({ specifier: literal.text, typeOnly: true });
    } else if (ts.isIdentifier(node)) {
      if (/^(subtle|getRandomValues|randomUUID)$/.test(node.text) && isMember(node)) {
        facts.cryptography.push(node.text);
      }
      if (node.text === "Buffer" && !isMember(node)) facts.buffer = true;
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return facts;
}

/** `a.name`, `a["name"]` is left to review, `const { name } = a` counts. */
function isMember(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node;
  return ts.isBindingElement(parent);
}

/** `mls/tree/x.ts` + `../labels.js` → `mls/labels.ts`; undefined for packages. */
function resolveRelative(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/").replace(/\.js$/, ".ts");
}

const folderOf = (path: string): string => path.split("/")[0] as string;

function checkRelative(path: string, target: string): string | undefined {
  const from = folderOf(path);
  const to = folderOf(target);
  if (from === to) return undefined;
  const allowed = path.includes("/") ? ALLOWED_IMPORTS[from] : ALLOWED_IN_ENTRIES[path];
  if (allowed === undefined) return `${path}: ${from} has no row in the import table`;
  return allowed.includes(to) ? undefined : `${path} imports ${target}: ${from} may not import ${to}`;
}

function checkPackage(path: string, specifier: string): string | undefined {
  if (specifier === "(computed)") return `${path}: an import with a computed name`;
  if (specifier.startsWith("node:")) {
    if (specifier === "node:crypto" && !path.startsWith("crypto/"))
      return `${path} imports node:crypto: cryptography stands in src/crypto`;
    return NODE_ONLY.test(path) ? undefined : `${path} imports ${specifier}: not a Node-only file`;
  }
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  const where = PACKAGES[name];
  if (where === undefined) return `${path} imports ${specifier}: not a dependency of the design`;
  return where.test(path) ? undefined : `${path} imports ${specifier}: only ${where.source} may`;
}

/** Value-import cycles, each once, as `a → b → a`. */
function findCycles(edges: Map<string, string[]>): string[] {
  const found = new Map<string, string>();
  const state = new Map<string, "open" | "done">();
  const stack: string[] = [];
  const walk = (path: string): void => {
    state.set(path, "open");
    stack.push(path);
    for (const next of edges.get(path) ?? []) {
      if (state.get(next) === "open") {
        const cycle = stack.slice(stack.indexOf(next));
        found.set([...cycle].sort().join(), [...cycle, next].join(" → "));
      } else if (!state.has(next) && edges.has(next)) walk(next);
    }
    stack.pop();
    state.set(path, "done");
  };
  for (const path of edges.keys()) if (!state.has(path)) walk(path);
  return [...found.values()];
}

/** What a browser entry loads, as path → the file that imported it. */
function reachableFrom(entry: string, edges: Map<string, string[]>): Map<string, string> {
  const seen = new Map<string, string>([[entry, entry]]);
  for (const path of seen.keys()) {
    for (const next of edges.get(path) ?? []) if (!seen.has(next)) seen.set(next, path);
  }
  return seen;
}

/** Holds `files` (path below src/ → text) against the design and tells every violation. */
export function findViolations(files: ReadonlyMap<string, string>): string[] {
  const violations: (string | undefined)[] = [];
  const valueEdges = new Map<string, string[]>();
  for (const [path, text] of files) {
    const facts = readFacts(path, text);
    const edges: string[] = [];
    valueEdges.set(path, edges);
    const name = path.split("/").at(-1) as string;
    if (!KEBAB_CASE.test(name)) violations.push(`${path}: file names are kebab-case`);
    if (EMPTY_NAMES.test(name)) violations.push(`${path}: a file is named for its job`);
    if (facts.lines > MAX_LINES) violations.push(`${path}: ${facts.lines} lines, more than ${MAX_LINES}`);
    if (folderOf(path) !== "crypto") {
      for (const use of facts.cryptography) violations.push(`${path} uses ${use}: only src/crypto may`);
    }
    if (facts.buffer && !NODE_ONLY.test(path)) violations.push(`${path} uses Buffer: not a Node-only file`);
    for (const { specifier, typeOnly } of facts.imports) {
      const target = resolveRelative(path, specifier);
      if (target === undefined) {
        violations.push(checkPackage(path, specifier));
        continue;
      }
      violations.push(checkRelative(path, target));
      if (!files.has(target)) violations.push(`${path} imports ${target}: no such file`);
      if (!typeOnly) edges.push(target);
    }
  }
  for (const cycle of findCycles(valueEdges)) violations.push(`import cycle: ${cycle}`);
  for (const entry of BROWSER_ENTRIES.filter((name) => files.has(name))) {
    for (const [path, by] of reachableFrom(entry, valueEdges)) {
      if (NODE_ONLY.test(path)) violations.push(`${entry} reaches the Node-only ${path} through ${by}`);
    }
  }
  return violations.filter((violation) => violation !== undefined);
}
