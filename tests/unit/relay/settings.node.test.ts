import { describe, expect, it } from "vitest";
import { DEFAULT_LIMITS } from "../../../src/relay/limits.js";
import { HELP, listLimits, readSettings } from "../../../src/relay/operation/settings.js";

const invalid = (message: string) =>
  expect.objectContaining({ code: "invalid-argument", message: expect.stringContaining(message) });

describe("settings", () => {
  it("have safe defaults", () => {
    expect(readSettings([], { PATH: "/bin" })).toEqual({
      command: [],
      print: undefined,
      port: 8787,
      host: "127.0.0.1",
      data: undefined,
      redis: [],
      redisReplicas: undefined,
      name: [],
      origin: [],
      trustProxy: 0,
      directory: "contacts",
      limits: {},
      metricsPort: undefined,
      metricsHost: undefined,
      drain: 5000,
      log: "text",
      logAddresses: false,
      json: false,
      user: undefined,
    });
  });

  it("that are misspelt are named, with where they are listed", () => {
    const message = (...args: string[]) => {
      try {
        readSettings(args, {});
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(message("--prot", "1")).toBe("there is no option --prot; see --help");
    expect(message("--prot=1")).toBe("there is no option --prot; see --help");
    expect(message("-x")).toBe("there is no option -x; see --help");
    expect(message("--limit", "maxFoo=1")).toBe("--limit: there is no limit maxFoo; see --limits");
  });

  it("come from flags and from the environment, flags first", () => {
    const environment = {
      SUBROSA_RELAY_PORT: "1",
      SUBROSA_RELAY_HOST: "::",
      SUBROSA_RELAY_DATA: "/data",
      SUBROSA_RELAY_REDIS: "redis://a,redis://b",
      SUBROSA_RELAY_REDIS_REPLICAS: "2",
      SUBROSA_RELAY_NAME: "a.example, b.example",
      SUBROSA_RELAY_ORIGIN: "https://a.example",
      SUBROSA_RELAY_TRUST_PROXY: "2",
      SUBROSA_RELAY_DIRECTORY: "open",
      SUBROSA_RELAY_LIMIT: "maxConnections=7,retention=Infinity",
      SUBROSA_RELAY_METRICS_PORT: "9090",
      SUBROSA_RELAY_METRICS_HOST: "10.0.0.1",
      SUBROSA_RELAY_DRAIN: "0.5",
      SUBROSA_RELAY_LOG: "json",
      SUBROSA_RELAY_LOG_ADDRESSES: "true",
    };
    const expected = {
      command: [],
      print: undefined,
      port: 1,
      host: "::",
      data: "/data",
      redis: ["redis://a", "redis://b"],
      redisReplicas: 2,
      name: ["a.example", "b.example"],
      origin: ["https://a.example"],
      trustProxy: 2,
      directory: "open",
      limits: { maxConnections: 7, retention: Number.POSITIVE_INFINITY },
      metricsPort: 9090,
      metricsHost: "10.0.0.1",
      drain: 500,
      log: "json",
      logAddresses: true,
      json: false,
      user: undefined,
    };
    expect(readSettings([], environment)).toEqual(expected);
    const flags = [
      ...["--port", "0", "--name", "c.example", "--name", "d.example", "--limit", "maxGroups=3"],
      ...["--log", "text", "remove-user", "bob"],
    ];
    expect(readSettings(flags, environment)).toEqual({
      ...expected,
      port: 0,
      name: ["c.example", "d.example"],
      limits: { maxGroups: 3 },
      log: "text",
      command: ["remove-user", "bob"],
    });
    expect(readSettings([], { SUBROSA_RELAY_LOG_ADDRESSES: "0" }).logAddresses).toBe(false);
  });

  it("are a command's own: who a notice is for, JSON, and a group's name, which is never the relay's", () => {
    const environment = { SUBROSA_RELAY_NAME: "relay.example.org", SUBROSA_RELAY_REDIS: "redis://a" };
    const read = (...args: string[]) => readSettings(args, environment);
    expect(read("close-group", "--name", "team")).toMatchObject({ name: ["team"], redis: ["redis://a"] });
    expect(read("close-group", "ab", "--json")).toMatchObject({ name: [], json: true });
    expect(read("notice", "hi", "--user", "bob")).toMatchObject({ command: ["notice", "hi"], user: "bob" });
    expect(read().name).toEqual(["relay.example.org"]);
  });

  it("leave out variables that are empty, and those that Kubernetes makes for services of the relay's name", () => {
    const service = (name: string, port: number) => ({
      [`${name}_SERVICE_HOST`]: "10.0.0.1",
      [`${name}_SERVICE_PORT`]: `${port}`,
      [`${name}_SERVICE_PORT_WEB_SOCKETS`]: `${port}`,
      [`${name}_PORT`]: `tcp://10.0.0.1:${port}`,
      [`${name}_PORT_${port}_TCP`]: `tcp://10.0.0.1:${port}`,
      [`${name}_PORT_${port}_TCP_PROTO`]: "tcp",
      [`${name}_PORT_${port}_TCP_PORT`]: `${port}`,
      [`${name}_PORT_${port}_TCP_ADDR`]: "10.0.0.1",
    });
    const empty = { SUBROSA_RELAY_DATA: "", SUBROSA_RELAY_TRUST_PROXY: " ", SUBROSA_RELAY_REDIS: "" };
    const made = { ...service("SUBROSA_RELAY", 80), ...service("SUBROSA_RELAY_METRICS", 9000) };
    expect(readSettings([], { ...empty, ...made, SUBROSA_RELAY_LOG_ADDRESSES: "" })).toEqual(
      readSettings([], {}),
    );
    expect(readSettings([], { SUBROSA_RELAY_NAME: "a.example, ," }).name).toEqual(["a.example"]);
    // A port of one's own beside them counts.
    expect(readSettings([], { ...made, SUBROSA_RELAY_PORT: "81" }).port).toBe(81);
  });

  it.each([
    [["--nonsense"], {}, "--nonsense"],
    [["--port", "x"], {}, "--port"],
    [["--port", ""], {}, "--port"],
    [["--port", "65536"], {}, "--port"],
    [["--metrics-port", "-1"], {}, "--metrics-port"],
    [["--trust-proxy", "1.5"], {}, "--trust-proxy"],
    [["--drain", "soon"], {}, "--drain"],
    [["--log", "xml"], {}, "--log"],
    [["--directory", "closed"], {}, "--directory"],
    [["--json"], {}, "--json"],
    [["--user", "bob"], {}, "--user"],
    [["remove-user", "--user", "bob"], {}, "--user"],
    [[], { SUBROSA_RELAY_USER: "bob" }, "SUBROSA_RELAY_USER"],
    [["--limit", "maxNothing=1"], {}, "maxNothing"],
    [["--limit", "toString=1"], {}, "toString"],
    [["--limit", "maxGroups"], {}, "maxGroups"],
    [["--limit", "maxGroups=-1"], {}, "maxGroups"],
    [["--limit", "maxGroups=many"], {}, "maxGroups"],
    [["--log-addresses=yes"], {}, "--log-addresses"],
    [[], { SUBROSA_RELAY_PROT: "1" }, "SUBROSA_RELAY_PROT"],
    [[], { SUBROSA_RELAY_HELP: "1" }, "SUBROSA_RELAY_HELP"],
    [[], { SUBROSA_RELAY_LOG_ADDRESSES: "perhaps" }, "SUBROSA_RELAY_LOG_ADDRESSES"],
    [[], { SUBROSA_RELAY_PORT: "http" }, "--port"],
  ])("refuse what they do not understand: %j %j", (args, environment, named) => {
    expect(() => readSettings(args, environment)).toThrow(invalid(named));
  });

  it("are all in the help, and all limits in their list", () => {
    const flags = Object.keys(readSettings([], {}))
      .filter((name) => !["command", "print"].includes(name))
      .map((name) =>
        name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace(/^limits$/, "limit"),
      );
    for (const flag of [...flags, "limits", "help", "version"]) expect(HELP).toContain(`  --${flag}`);
    for (const command of ["users | groups", "remove-user", "close-group", "notice", "backup"])
      expect(HELP).toContain(`subrosa-relay ${command}`);
    expect(Math.max(...HELP.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
    const listed = listLimits().trim().split("\n");
    expect(
      readSettings(
        listed.flatMap((line) => ["--limit", line]),
        {},
      ).limits,
    ).toEqual(DEFAULT_LIMITS);
  });

  it("know what is only to be printed", () => {
    expect(readSettings(["-h"], {}).print).toBe("help");
    expect(readSettings(["--version"], {}).print).toBe("version");
    expect(readSettings(["--limits"], {}).print).toBe("limits");
  });
});
