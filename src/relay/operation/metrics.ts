/** Prometheus' text format, version 0.0.4: what `/metrics` answers. */

const PREFIX = "subrosa_relay_";
/** Upper bounds of the append histogram's buckets, in seconds. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

function header(name: string, type: string, help: string): string {
  return `# HELP ${PREFIX}${name} ${help}\n# TYPE ${PREFIX}${name} ${type}\n`;
}

/** A number at this moment, by the values of one label or without any. */
export function gauge(
  name: string,
  help: string,
  values: number | Readonly<Record<string, number>>,
  label = "",
): string {
  if (typeof values === "number") return `${header(name, "gauge", help)}${PREFIX}${name} ${values}\n`;
  const lines = Object.entries(values).map(
    ([value, count]) => `${PREFIX}${name}{${label}="${value}"} ${count}\n`,
  );
  return header(name, "gauge", help) + lines.join("");
}

/** Counts what happened. The values of its label come from this program, never from outside: their number is bounded. */
export class Counter {
  readonly #name: string;
  readonly #help: string;
  readonly #label: string | undefined;
  readonly #counts = new Map<string, number>();

  constructor(name: string, help: string, label?: string) {
    this.#name = name;
    this.#help = help;
    this.#label = label;
    if (label === undefined) this.#counts.set("", 0);
  }

  add(value: string | number = "", count = 1): void {
    const key = String(value);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + count);
  }

  render(): string {
    let text = header(this.#name, "counter", this.#help);
    for (const [value, count] of this.#counts) {
      const label = this.#label === undefined ? "" : `{${this.#label}="${value}"}`;
      text += `${PREFIX}${this.#name}${label} ${count}\n`;
    }
    return text;
  }
}

/** How long something took, in seconds. */
export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #buckets = new Array<number>(SECONDS.length).fill(0);
  #count = 0;
  #sum = 0;

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  observe(seconds: number): void {
    this.#count++;
    this.#sum += seconds;
    const bucket = SECONDS.findIndex((bound) => seconds <= bound);
    if (bucket >= 0) this.#buckets[bucket] = (this.#buckets[bucket] as number) + 1;
  }

  render(): string {
    const name = `${PREFIX}${this.#name}`;
    let text = header(this.#name, "histogram", this.#help);
    let below = 0;
    for (const [i, bound] of SECONDS.entries()) {
      below += this.#buckets[i] as number;
      text += `${name}_bucket{le="${bound}"} ${below}\n`;
    }
    return `${text}${name}_bucket{le="+Inf"} ${this.#count}\n${name}_sum ${this.#sum}\n${name}_count ${this.#count}\n`;
  }
}

/** What one relay counts. */
export class Metrics {
  readonly connections = new Counter("connections_total", "Connections taken.");
  readonly sessions = new Counter("sessions_total", "Sessions that authenticated.");
  readonly closes = new Counter("closes_total", "Connections that the relay closed, by close code.", "code");
  readonly unanswered = new Counter(
    "handshakes_dropped_total",
    "TCP connections dropped before the WebSocket's handshake ended, by reason.",
    "reason",
  );
  readonly requests = new Counter("requests_total", "Requests, by operation.", "operation");
  readonly refusals = new Counter("refusals_total", "Refusals, of logins too, by code.", "code");
  readonly appends = new Counter("appends_total", "Entries appended, by the kind of log.", "log");
  readonly appendSeconds = new Histogram(
    "append_seconds",
    "From the arrival of an append to its durable answer.",
  );
  readonly deliveries = new Counter("deliveries_total", "Frames with entries, sent to their readers.");
  readonly signals = new Counter("signals_total", "Signals, by what became of them.", "outcome");
  readonly bytesIn = new Counter("received_bytes_total", "Bytes of frames received.");
  readonly bytesOut = new Counter("sent_bytes_total", "Bytes of frames sent.");
  readonly failures = new Counter("failures_total", "Failures inside the relay.");

  render(): string {
    return Object.values(this)
      .map((metric: Counter | Histogram) => metric.render())
      .join("");
  }
}
